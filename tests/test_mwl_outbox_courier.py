import random
import sqlite3
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from hl7.outbound import OrderStatus
from mwl import outbox
from mwl.config import Destination
from mwl.db import Database
from mwl.db.tables import Delivery
from mwl.errors import Outage, Rejected
from mwl.outbox import Kind, State, claims
from mwl.outbox.claims import Channel
from mwl.outbox.courier import backoff_s
from tests import mllp_peer, warm
from tests.mllp_peer import AE, LOCKED, PATIENCE_S, TROUBLE, Ris, answer
from tests.test_hl7_outbound import fact

TABLE = Delivery.__table__
REPORT = Kind.COMMITMENT_REPORT


def put(database, *subjects, destination="ris0", kind=Kind.ORDER_STATUS, payload=None):
    def work(session):
        for subject in subjects:
            outbox.enqueue(
                session,
                kind=kind,
                destination=destination,
                subject=subject,
                payload=payload or fact(order={"placer_number": subject}),
                now=datetime.now(UTC),
            )

    database.write(work)


def rows(database):
    with database.read() as session:
        return session.connection().execute(select(TABLE).order_by(TABLE.c.id)).all()


def states(database):
    return [row.state for row in rows(database)]


def eventually(condition):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def settle(database, *expected):
    """Wait until the deliveries are in these states."""
    eventually(lambda: states(database) == list(expected))


def placers(ris):
    return [message.text("ORC-2") for message in ris.parsed()]


@contextmanager
def delivering(database, *rises, **options):
    """Deliver to RISes called ris0, ris1 …, as app.py has it."""
    options = {"ack_timeout_s": 5, **options}
    tables = [
        Destination(name=f"ris{i}", host="127.0.0.1", port=ris.port, **options)
        for i, ris in enumerate(rises)
    ]
    statuses = OrderStatus(tables, ZoneInfo("UTC"))
    with couriering(database, {Kind.ORDER_STATUS: statuses.deliver}) as courier:
        yield courier
    statuses.close()


@contextmanager
def couriering(database, deliver, drain_s=10, **options):
    courier = outbox.Courier(database, deliver, **{"look_s": 0.02, "lease_s": 1.0, **options})
    courier.start()
    try:
        yield courier
    finally:
        courier.stop(drain_s)


@pytest.fixture
def ris():
    with Ris() as made:
        yield made


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("mwl.outbox.courier.backoff_s", lambda attempts: 0.05)


# ---- the way of a message


def test_what_is_queued_is_delivered_in_order_on_one_connection(database, ris):
    subjects = [f"order:{n % 4}.{n}" for n in range(12)]
    put(database, *subjects)
    with delivering(database, ris):
        settle(database, *["done"] * 12)
        put(database, "order:later")
        settle(database, *["done"] * 13)
    assert placers(ris) == [*subjects, "order:later"]
    assert ris.connections == 1
    assert len(set(ris.ids)) == 13
    assert all(len(control_id) <= 20 for control_id in ris.ids)
    done = rows(database)
    assert [row.body for row in done] == ris.messages
    assert [row.control_id for row in done] == ris.ids
    assert all(b"MSA|AA" in row.answer and row.done_at for row in done)
    assert {(row.attempts, row.claimed_by, row.claimed_until) for row in done} == {(1, "", None)}


@pytest.mark.parametrize(
    "trouble",
    [
        *(LOCKED, TROUBLE, mllp_peer.close, mllp_peer.close_half_way),
        *(mllp_peer.GARBAGE, mllp_peer.BINARY, mllp_peer.ENDLESS),
    ],
    ids=["locked", "internal", "close", "half an answer", "garbage", "binary", "endless"],
)
def test_passing_trouble_is_met_with_the_same_bytes_again(database, ris, trouble):
    ris.answers(trouble, trouble)
    put(database, "order:1", "order:2")
    with delivering(database, ris):
        settle(database, "done", "done")
    assert placers(ris) == ["order:1"] * 3 + ["order:2"]
    assert len(set(ris.messages[:3])) == 1
    assert [row.attempts for row in rows(database)] == [3, 1]


def test_a_receiver_that_says_nothing_is_asked_again(database, ris):
    ris.answers(mllp_peer.silence)
    put(database, "order:1")
    with delivering(database, ris, ack_timeout_s=0.3):
        settle(database, "done")
    assert ris.messages[0] == ris.messages[1]


def test_what_was_answered_while_the_database_was_away_is_not_sent_again(sqlite_url, tmp_path, ris):
    database = Database(sqlite_url, data_dir=tmp_path, wait_s=0.1)
    put(database, "order:1", "order:2")
    file = sqlite_url.removeprefix("sqlite:///")
    with closing(database), closing(sqlite3.connect(file, check_same_thread=False)) as other:

        def in_an_outage(message):
            other.execute("BEGIN IMMEDIATE")
            return mllp_peer.AA(message)

        ris.answers(in_an_outage)
        with delivering(database, ris):
            ris.wait(1)
            time.sleep(1.5)  # longer than its claim holds
            assert states(database) == ["waiting", "waiting"]
            other.rollback()
            settle(database, "done", "done")
    assert placers(ris) == ["order:1", "order:2"]


def test_answers_to_other_messages_are_passed_over(database, ris):
    ris.answers(always=mllp_peer.late)
    put(database, "order:1", "order:2")
    with delivering(database, ris):
        settle(database, "done", "done")
    assert placers(ris) == ["order:1", "order:2"]


def test_a_receiver_that_comes_back_gets_what_waited(database):
    gone = Ris()
    gone.stop()
    put(database, "order:1", "order:2")
    with delivering(database, gone):
        eventually(lambda: rows(database)[0].attempts > 1)
        assert "nobody listens at" in rows(database)[0].error
        with Ris(gone.port) as back:
            settle(database, "done", "done")
            assert placers(back) == ["order:1", "order:2"]


def test_a_connection_that_its_receiver_ended_is_opened_again(database, ris):
    with delivering(database, ris):
        put(database, "order:1")
        settle(database, "done")
        ris.hang_up()
        eventually(lambda: not ris._open)
        put(database, "order:2")
        settle(database, "done", "done")
    assert placers(ris) == ["order:1", "order:2"]
    assert [row.attempts for row in rows(database)] == [1, 1]


def test_what_is_refused_is_parked_and_only_its_order_waits(database, ris):
    ris.answers(AE)
    put(database, "order:1", "order:2", "order:1")
    with delivering(database, ris):
        settle(database, "parked", "done", "blocked")
        put(database, "order:1", "order:3")
        settle(database, "parked", "done", "blocked", "blocked", "done")
        parked = rows(database)[0]
        assert parked.error == "answered AE, 101 at PID-1^3"  # and nothing of the patient
        assert b"Doe^Jane" in parked.answer
        database.write(lambda s: outbox.resend(s, [parked.id], now=datetime.now(UTC)))
        settle(database, *["done"] * 5)
    assert placers(ris) == [*("order:1", "order:2", "order:3"), *["order:1"] * 3]
    assert ris.messages[0] == ris.messages[3]


@pytest.mark.parametrize("refusal", [AE, answer("AR", "204"), answer("AR"), answer("CE")])
def test_only_206_and_207_are_passing(database, ris, refusal):
    ris.answers(refusal)
    put(database, "order:1")
    with delivering(database, ris):
        settle(database, "parked")
    assert len(ris.messages) == 1


def test_what_is_dropped_lets_the_rest_go_on(database, ris):
    ris.answers(AE)
    put(database, "order:1", "order:1", "order:1")
    with delivering(database, ris):
        settle(database, "parked", "blocked", "blocked")
        first, second, _ = (row.id for row in rows(database))
        database.write(lambda s: outbox.drop(s, [first, second], now=datetime.now(UTC)))
        settle(database, "dropped", "dropped", "done")


def test_anew_means_by_todays_settings(database, ris):
    ris.answers(AE)
    put(database, "order:1")
    with delivering(database, ris):
        settle(database, "parked")
    row = rows(database)[0].id
    database.write(lambda s: outbox.resend(s, [row], now=datetime.now(UTC), anew=True))
    with delivering(database, ris, message="OMI^O23"):
        settle(database, "done")
    before, after = ris.parsed()
    assert (before.text("MSH-9.1"), after.text("MSH-9.1")) == ("ORM", "OMI")
    assert before.text("MSH-10") != after.text("MSH-10")


def test_what_can_not_be_rendered_is_parked_not_lost(database, ris):
    put(database, "order:1", payload={"version": 1, "event": "IP"})
    put(database, "order:2")
    put(database, "order:3", destination="nobody")
    with delivering(database, ris):
        settle(database, "parked", "done", "parked")
    defect, _, unknown = rows(database)
    assert "KeyError" in defect.error
    assert "[[hl7.destination]]" in unknown.error


def test_a_destination_that_hangs_holds_up_nobody_else(database, ris):
    with Ris() as deaf:
        deaf.answers(always=mllp_peer.silence)
        put(database, "order:1", "order:2", destination="ris1")
        put(database, "order:1", "order:2", destination="ris0")
        with delivering(database, ris, deaf):
            deaf.wait(1)
            eventually(lambda: states(database)[2:] == ["done", "done"])
            assert states(database)[:2] == ["waiting", "waiting"]
            assert len(deaf.messages) == 1
            deaf.hang_up()


# ---- claims


def claim(database, worker, *, now=None, lease_s=10, channel=None):
    now = now or datetime.now(UTC)
    channel = channel or Channel(Kind.ORDER_STATUS, "ris0")
    until = now + timedelta(seconds=lease_s)
    return database.write(lambda s: claims.claim(s, channel, worker, now=now, until=until))


def test_the_head_is_one_claimants_and_nobody_passes_it(database):
    put(database, "order:1", "order:2")
    mine = claim(database, "a")
    assert (mine.subject, mine.attempts, mine.body) == ("order:1", 1, b"")
    assert claim(database, "b") is None
    assert claim(database, "a") is None


def test_a_claim_that_ran_out_is_the_next_ones_and_its_owner_has_no_say(database):
    put(database, "order:1")
    now = datetime.now(UTC)
    mine = claim(database, "a", now=now)
    later = now + timedelta(seconds=11)
    theirs = claim(database, "b", now=later)
    assert theirs.id == mine.id
    assert not database.write(lambda s: claims.renew(s, mine.id, "a", later))
    assert not database.write(lambda s: claims.keep(s, mine.id, "a", "1", b"x"))
    done = claims.Settled(State.DONE)
    assert not database.write(lambda s: claims.settle(s, mine, "a", done, later))
    assert database.write(lambda s: claims.settle(s, theirs, "b", done, later))
    assert states(database) == ["done"]


def test_a_head_that_waits_for_its_next_attempt_holds_its_channel_up(database):
    put(database, "order:1", "order:2")
    now = datetime.now(UTC)
    mine = claim(database, "a", now=now)
    again = claims.Settled(State.WAITING, "no", next_at=now + timedelta(seconds=60))
    database.write(lambda s: claims.settle(s, mine, "a", again, now))
    assert claim(database, "a", now=now) is None
    with database.read() as session:
        assert claims.due(session, now) == []
        assert claims.due(session, now + timedelta(seconds=61)) == [mine.channel]


def test_a_clock_that_is_set_back_holds_nothing_up(database):
    put(database, "order:1")
    ahead = datetime.now(UTC)
    now = ahead - timedelta(hours=1)
    assert claim(database, "a", now=now) is not None  # though it was queued in an hour
    assert claim(database, "killed", now=ahead) is not None
    mine = claim(database, "b", now=now)
    assert mine is not None
    again = claims.Settled(State.WAITING, "no", next_at=ahead + timedelta(seconds=60))
    database.write(lambda s: claims.settle(s, mine, "b", again, now))
    with database.read() as session:
        assert claims.due(session, now) == [mine.channel]
    assert claim(database, "c", now=now).attempts == 4


def test_channels_are_found_whatever_waits_in_them(database):
    put(database, *["order:1"] * 5)
    put(database, *["order:1"] * 5, destination="ris1")
    put(database, "commitment:1", kind=REPORT, destination="ris1")
    with database.read() as session:
        assert claims.due(session, datetime.now(UTC)) == [
            Channel(Kind.ORDER_STATUS, "ris0"),
            Channel(REPORT, "ris1"),
            Channel(Kind.ORDER_STATUS, "ris1"),
        ]


def test_claimants_of_one_channel_never_hold_two_at_once(database):
    put(database, *(f"order:{n}" for n in range(30)))
    held, most, order, mutex = 0, 0, [], threading.Lock()

    def work(worker):
        nonlocal held, most
        while states_left(database):
            mine = claim(database, worker)
            if mine is None:
                time.sleep(random.uniform(0, 0.003))
                continue
            with mutex:
                held += 1
                most = max(most, held)
                order.append(mine.subject)
            time.sleep(0.001)
            with mutex:
                held -= 1
            finish(database, mine, worker)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert most == 1
    assert order == [f"order:{n}" for n in range(30)]


def finish(database, mine, worker):
    done = claims.Settled(State.DONE)
    database.write(lambda s: claims.settle(s, mine, worker, done, datetime.now(UTC)))


def states_left(database):
    return "waiting" in states(database)


def test_what_nothing_blocks_any_more_is_let_go(database):
    put(database, "order:1", "order:2")
    database.write(
        lambda s: s.connection().execute(
            update(TABLE).where(TABLE.c.subject == "order:1").values(state="blocked")
        )
    )
    assert database.write(claims.unblock) == 1
    assert states(database) == ["waiting", "waiting"]


# ---- the courier


def test_a_long_delivery_keeps_its_claim(database):
    entered, released, calls = threading.Event(), threading.Event(), []

    def slow(delivery):
        calls.append(delivery.claimed.id)
        entered.set()
        released.wait(PATIENCE_S)
        return outbox.Done()

    put(database, "commitment:1", kind=REPORT)
    with couriering(database, {REPORT: slow}, lease_s=0.6), couriering(database, {REPORT: slow}):
        entered.wait(PATIENCE_S)
        time.sleep(1.5)  # more than two leases
        released.set()
        settle(database, "done")
    assert len(calls) == 1


def test_what_is_given_up_at_the_end_is_free_at_once(database):
    entered, released = threading.Event(), threading.Event()

    def hangs(delivery):
        entered.set()
        released.wait(PATIENCE_S)
        return outbox.Done()

    put(database, "commitment:1", kind=REPORT)
    with couriering(database, {REPORT: hangs}, drain_s=0.1, lease_s=600):
        entered.wait(PATIENCE_S)
    (row,) = rows(database)
    assert (row.state, row.claimed_by, row.attempts) == ("waiting", "", 0)
    released.set()


@pytest.mark.parametrize(
    ("raised", "state"),
    [(Outage("not there"), "waiting"), (Rejected(), "parked"), (ValueError("Doe"), "parked")],
)
def test_what_a_deliverer_raises_is_told_apart(database, raised, state, monkeypatch):
    monkeypatch.setattr("mwl.outbox.courier.backoff_s", lambda attempts: 60.0)

    def fails(delivery):
        raise raised

    put(database, "commitment:1", kind=REPORT)
    with couriering(database, {REPORT: fails}):
        eventually(lambda: rows(database)[0].attempts == 1 and not rows(database)[0].claimed_by)
    (row,) = rows(database)
    assert row.state == state
    assert "Doe" not in row.error


def test_another_kind_is_another_couriers(database):
    put(database, "commitment:1", kind=REPORT, destination="ris0")
    with couriering(database, {Kind.ORDER_STATUS: lambda delivery: outbox.Done()}):
        put(database, "order:1")
        settle(database, "waiting", "done")


def test_pauses_grow_and_are_bounded():
    pauses = [backoff_s(attempts) for attempts in (1, 2, 5, 9, 10, 1000)]
    longest = (1, 2, 16, 256, 300, 300)
    assert all(0.75 * most <= pause <= most for pause, most in zip(pauses, longest, strict=True))


# ---- processes


@contextmanager
def process(database_url, folder, *rises):
    ports = [str(ris.port) for ris in rises]
    started = warm.start_module("tests.outbox_process", [database_url, str(folder), *ports])
    try:
        assert started.stdout.readline() == b"ready\n"
        yield started
    finally:
        started.kill()
        started.wait(PATIENCE_S)
        for stream in (started.stdin, started.stdout):
            with suppress(OSError):
                stream.close()


def test_kill_9_in_the_middle_loses_nothing_and_keeps_the_order(database, database_url, tmp_path):
    subjects = [f"order:{n}" for n in range(40)]
    with Ris() as first, Ris() as second:
        for ris in (first, second):
            ris.delay_s = 0.01
        put(database, *subjects, destination="ris0")
        put(database, *subjects, destination="ris1")
        for count in (8, 16, 24):
            with process(database_url, tmp_path, first, second) as victim:
                first.wait(count)
                victim.kill()
        with process(database_url, tmp_path, first, second):
            settle(database, *["done"] * 80)
    for ris in (first, second):
        assert list(dict.fromkeys(placers(ris))) == subjects  # some may have come twice …
        assert len(set(ris.ids)) == len(set(ris.messages)) == 40  # … as the same bytes
        assert placers(ris) == sorted(placers(ris), key=subjects.index)


def test_two_processes_on_one_database_send_nothing_twice(database, database_url, tmp_path):
    subjects = [f"order:{n}" for n in range(60)]
    with ExitStack() as stack:
        ris = stack.enter_context(Ris())
        ris.delay_s = 0.005
        for _ in range(2):
            stack.enter_context(process(database_url, tmp_path, ris))
        for start in range(0, 60, 6):
            put(database, *subjects[start : start + 6])
            time.sleep(0.05)  # so that either finds something first
        settle(database, *["done"] * 60)
    assert placers(ris) == subjects
    assert ris.together == 1
