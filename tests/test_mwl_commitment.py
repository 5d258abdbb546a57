"""Requests for commitment are kept, judged and led to whoever tells of them."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from mwl import commitment, outbox
from mwl.commitment import Judge, State
from mwl.commitment.judging import CLAIM
from mwl.db.tables import CommitmentItem, StoredObject
from mwl.errors import Outage, Rejected
from tests.archive_rows import CT, MR, NOW
from tests.committing import (
    HEAD,
    WAIT,
    ask,
    failures,
    keep,
    make_store,
    references,
    register,
    set_object,
    state,
)
from tests.s3 import on_each_pair

SECOND = timedelta(seconds=1)


@pytest.fixture
def store(tmp_path, images_in):
    return make_store(tmp_path, images_in)


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def judge(database, store, clock):
    return Judge(database, store, lambda uid: uid in {CT, MR}, "node 1", clock)


def deliveries(database):
    with database.read() as session:
        return [(each["subject"], each["state"]) for each in outbox.listing(session)][::-1]


@on_each_pair
def test_what_is_here_is_committed_at_once_and_its_version_named(database, store, judge):
    register(database, host="127.0.0.1", port=104)
    keys = [keep(database, store, number) for number in (1, 2)]
    request = ask(database, references(1, 2)).id
    assert judge.one()
    assert failures(database, request) == [0, 0]
    with database.read() as session:
        named = session.connection().execute(
            select(StoredObject.__table__.c.key)
            .join(CommitmentItem, CommitmentItem.stored_object == StoredObject.id)
            .order_by(CommitmentItem.id)
        )
        assert list(named.scalars()) == keys
    assert state(database, request) == State.QUEUED
    assert deliveries(database) == [(f"commitment:{request}", "waiting")]
    assert not judge.one()


@on_each_pair
def test_what_is_missing_is_waited_for_until_it_comes(database, store, judge, clock):
    keep(database, store, 1)
    request = ask(database, references(1, 2)).id
    judge.one()
    assert failures(database, request) == [0, None]
    assert not judge.one()  # not before the next look is due
    keep(database, store, 2)
    clock.now += 2 * SECOND
    assert judge.one()
    assert failures(database, request) == [0, 0]


def test_what_never_comes_fails_when_the_wait_is_over(database, store, judge, clock):
    keep(database, store, 1)
    request = ask(database, references(1, 2)).id
    judge.one()
    clock.now += WAIT - SECOND
    judge.one()
    assert failures(database, request) == [0, None]
    clock.now += SECOND
    judge.one()
    assert failures(database, request) == [0, 0x0112]


def test_nothing_is_waited_for_that_fails_anyway(database, store, judge):
    keep(database, store, 1)
    asked = [*references(1, sop_class=MR), *references(2, sop_class="1.2.840.10008.1.1")]
    request = ask(database, asked).id
    judge.one()
    assert failures(database, request) == [0x0119, 0x0122]


def test_others_instances_are_committed_as_they_are_just_as_safe(database, store, judge):
    keep(database, store, 1, source="MR9", study=1)
    keep(database, store, 2, source="MR9", study=2, series=2)  # another patient's
    request = ask(database, references(1, 2)).id
    judge.one()
    assert failures(database, request) == [0, 0]


def test_a_flipped_byte_is_not_committed_and_cries(database, store, judge, tmp_path):
    key = keep(database, store, 1)
    path = tmp_path / "objects" / key
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    request = ask(database, references(1)).id
    with capture_logs() as logs:
        judge.one()
    assert failures(database, request) == [0x0110]
    assert [(each["event"], each["log_level"]) for each in logs if "key" in each] == [
        ("commitment.bytes_differ", "critical")
    ]


@on_each_pair
def test_other_bytes_than_were_stored_are_not_committed(database, store, judge):
    set_object(database, keep(database, store, 1), sha256=bytes(32))
    keep(database, store, 2)
    request = ask(database, references(1, 2)).id
    judge.one()
    assert failures(database, request) == [0x0110, 0]


def test_a_bucket_that_stalls_is_asked_again(database, s3_bucket, proxy, impatient, clock):
    way = {"endpoint": f"http://127.0.0.1:{proxy.port}"}
    store = make_store(None, s3_bucket.model_copy(update=way))
    keep(database, store, 1)
    request = ask(database, references(1)).id
    judge = Judge(database, store, lambda uid: True, "node 1", clock)
    proxy.stall()
    assert judge.one()
    assert failures(database, request) == [None]
    proxy.flow()
    clock.now += timedelta(minutes=1)
    assert judge.one()
    assert failures(database, request) == [0]


def test_a_flipped_byte_before_the_data_set_is_no_harm(database, store, judge, tmp_path):
    path = tmp_path / "objects" / keep(database, store, 1)
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    request = ask(database, references(1)).id
    judge.one()
    assert failures(database, request) == [0]


@pytest.mark.parametrize("left", [b"", HEAD, HEAD + b"content"])
def test_a_file_cut_short_is_not_committed(database, store, judge, tmp_path, left):
    (tmp_path / "objects" / keep(database, store, 1)).write_bytes(left)
    request = ask(database, references(1)).id
    judge.one()
    assert failures(database, request) == [0x0110]


@on_each_pair
def test_a_lost_file_is_not_committed_and_cries(database, store, judge):
    store.delete(keep(database, store, 1))
    request = ask(database, references(1)).id
    with capture_logs() as logs:
        judge.one()
    assert failures(database, request) == [0x0110]
    assert "commitment.bytes_missing" in [each["event"] for each in logs]


def test_what_is_quarantined_is_not_committed(database, store, judge):
    set_object(database, keep(database, store, 1), state="quarantined")
    request = ask(database, references(1)).id
    judge.one()
    assert failures(database, request) == [0x0110]


@on_each_pair
def test_whose_version_lost_is_not_told_that_it_is_safe(database, store, judge):
    keep(database, store, 1, source="CT1", content=b"the first")
    keep(database, store, 1, source="CT2", content=b"another")
    first = ask(database, references(1), title="CT1").id
    second = ask(database, references(1), title="CT2").id
    third = ask(database, references(1), title="PACS").id
    while judge.one():
        pass
    assert [failures(database, each) for each in (first, second, third)] == [[0], [0x0110], [0]]


def test_another_patients_image_under_a_known_study_is_not_committed(database, store, judge):
    keep(database, store, 1)
    keep(database, store, 2, PatientID="P9", PatientName="Roe^Rita", PatientBirthDate="19010101")
    request = ask(database, references(1, 2)).id
    judge.one()
    assert failures(database, request) == [0, 0x0110]


class Broken:
    """A store whose bucket is out of reach."""

    def __init__(self):
        self.calls = 0

    def read(self, key, start=0, length=None):
        self.calls += 1
        raise Outage("the bucket is not there")


def test_bytes_out_of_reach_are_tried_again(database, store, clock):
    keep(database, store, 1)
    request = ask(database, references(1), wait=timedelta(0)).id
    broken = Judge(database, Broken(), lambda uid: True, "node 1", clock)
    assert broken.one()
    assert failures(database, request) == [None]
    clock.now += timedelta(minutes=1)
    assert Judge(database, store, lambda uid: True, "node 1", clock).one()
    assert failures(database, request) == [0]


def test_bytes_out_of_reach_for_long_are_a_lack_of_resources(database, store, clock):
    keep(database, store, 1)
    request = ask(database, references(1), wait=timedelta(0)).id
    clock.now += timedelta(minutes=11)
    Judge(database, Broken(), lambda uid: True, "node 1", clock).one()
    assert failures(database, request) == [0x0213]


def test_many_instances_are_judged_page_by_page(database, store, judge):
    for number in (1, 250, 450):
        keep(database, store, number)
    request = ask(database, references(*range(1, 501))).id
    judge.one()
    found = failures(database, request)
    assert [n for n, each in enumerate(found, 1) if each == 0] == [1, 250, 450]
    assert found.count(None) == 497


def test_a_node_that_died_leaves_its_claim_to_run_out(database, store, judge, clock):
    keep(database, store, 1)
    request = ask(database, references(1)).id

    class Dies(Broken):
        def read(self, key, start=0, length=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Judge(database, Dies(), lambda uid: True, "node 2", clock).one()
    assert not judge.one()
    assert failures(database, request) == [None]
    clock.now += CLAIM + SECOND
    assert judge.one()
    assert failures(database, request) == [0]


def test_a_node_whose_claim_was_taken_writes_nothing(database, store, judge, clock):
    keep(database, store, 1)
    request = ask(database, references(1)).id
    took = []

    class Slow:
        """While its bytes are read, the claim runs out and another node does the work."""

        def read(self, key, start=0, length=None):
            clock.now += CLAIM + SECOND
            took.append(judge.one())
            yield b"not what was stored"

    with capture_logs() as logs:
        Judge(database, Slow(), lambda uid: True, "node 2", clock).one()
    assert took == [True]
    assert failures(database, request) == [0]
    assert "commitment.claim_lost" in [each["event"] for each in logs]


def test_nodes_share_the_work(database, store, clock):
    for number in range(1, 9):
        keep(database, store, number)
    requests = [ask(database, references(n), uid=f"1.2.{n}").id for n in range(1, 9)]
    done = []

    def work(node):
        each = Judge(database, store, lambda uid: True, node, clock)
        while each.one():
            done.append(node)

    threads = [threading.Thread(target=work, args=(f"node {n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 8
    assert [failures(database, request) for request in requests] == [[0]] * 8


def test_the_same_request_again_is_judged_and_reported_again(database, store, judge, clock):
    register(database, host="127.0.0.1", port=104)
    keep(database, store, 1)
    first = ask(database, references(1, 2), wait=timedelta(0)).id
    judge.one()
    assert failures(database, first) == [0, 0x0112]
    keep(database, store, 2)
    assert ask(database, references(2, 1), wait=timedelta(0)).id == first
    assert state(database, first) == State.WAITING
    judge.one()
    assert failures(database, first) == [0, 0]
    # No second one beside that which waits.
    assert deliveries(database) == [(f"commitment:{first}", "waiting")]
    with database.read() as session:
        assert len(commitment.listing(session)) == 1


def test_a_transaction_with_other_items_is_a_duplicate(database, store, judge):
    keep(database, store, 1)
    keep(database, store, 2)
    first = ask(database, references(1)).id
    second = ask(database, references(2)).id
    assert second != first
    while judge.one():
        pass
    assert failures(database, first) == [0]
    assert failures(database, second) == [0x0131]
    # Asked again, the answers stay.
    assert ask(database, references(2)).id == second
    assert ask(database, references(1)).id == first
    while judge.one():
        pass
    assert (failures(database, first), failures(database, second)) == ([0], [0x0131])


def test_another_requesters_transaction_is_no_duplicate(database, store, judge):
    keep(database, store, 1)
    first = ask(database, references(1), title="CT1").id
    second = ask(database, references(1, 2), title="CT2", wait=timedelta(0)).id
    while judge.one():
        pass
    assert failures(database, first) == [0]
    assert failures(database, second) == [0, 0x0112]


def test_a_report_goes_to_the_association_that_holds_it(database, store, judge, clock):
    keep(database, store, 1)
    accepted = ask(database, references(1))  # a stranger's
    assert accepted.held
    judge.one()
    assert state(database, accepted.id) == State.JUDGED
    with database.read() as session:
        assert commitment.judged(session, [accepted.id], "one") == [accepted.id]
        assert commitment.judged(session, [accepted.id], "another") == []
    database.write(lambda session: commitment.reported(session, accepted.id, clock.now))
    assert state(database, accepted.id) == State.REPORTED


def test_what_was_judged_for_an_association_that_ended_is_handed_on(database, store, judge, clock):
    register(database, host="127.0.0.1", port=104, commit_report="same")
    keep(database, store, 1)
    request = ask(database, references(1)).id
    judge.one()
    assert state(database, request) == State.JUDGED
    database.write(lambda session: commitment.let_go(session, [request], "one", clock.now))
    assert state(database, request) == State.QUEUED
    assert deliveries(database) == [(f"commitment:{request}", "waiting")]


def test_an_association_that_ended_before_the_judgement_is_not_waited_for(
    database, store, judge, clock
):
    register(database, host="127.0.0.1", port=104, commit_report="same")
    keep(database, store, 1)
    request = ask(database, references(1)).id
    database.write(lambda session: commitment.let_go(session, [request], "one", clock.now))
    assert state(database, request) == State.WAITING
    judge.one()
    assert state(database, request) == State.QUEUED


def test_a_process_that_was_killed_holds_nothing_for_long(database, store, judge, clock):
    register(database, host="127.0.0.1", port=104, commit_report="same")
    keep(database, store, 1)
    request = ask(database, references(1)).id
    judge.one()

    def hand_on():
        now = clock.now
        return database.write(lambda session: commitment.hand_on_abandoned(session, now))

    assert hand_on() == 0
    clock.now += commitment.HOLD - SECOND
    now = clock.now
    database.write(lambda session: commitment.hold(session, [request], "one", now))
    clock.now += 2 * SECOND
    assert hand_on() == 0
    clock.now += commitment.HOLD
    assert hand_on() == 1
    assert state(database, request) == State.QUEUED


def test_nobody_to_call_is_kept_as_untold_until_there_is(database, store, judge, clock):
    keep(database, store, 1)
    request = ask(database, references(1)).id
    database.write(lambda session: commitment.let_go(session, [request], "one", clock.now))
    judge.one()
    assert state(database, request) == State.UNTOLD
    assert deliveries(database) == []
    with pytest.raises(Rejected, match="CT1 has no address"):
        database.write(lambda session: commitment.report_again(session, request, clock.now))
    register(database, host="127.0.0.1", port=104)
    database.write(lambda session: commitment.report_again(session, request, clock.now))
    assert state(database, request) == State.QUEUED
    assert deliveries(database) == [(f"commitment:{request}", "waiting")]


def test_a_report_can_be_asked_for_again_by_hand(database, store, judge, clock):
    with pytest.raises(Rejected, match="there is none"):
        database.write(lambda session: commitment.report_again(session, 4711, clock.now))
    register(database, host="127.0.0.1", port=104)
    request = ask(database, references(1)).id
    with pytest.raises(Rejected, match="not judged yet"):
        database.write(lambda session: commitment.report_again(session, request, clock.now))


def test_the_list_tells_what_was_asked_and_what_became_of_it(database, store, judge, clock):
    keep(database, store, 1)
    request = ask(database, references(1, 2, 3), wait=timedelta(0)).id
    judge.one()
    with database.read() as session:
        (entry,) = commitment.listing(session, state="judged")
        assert commitment.listing(session, state="reported") == []
        with pytest.raises(Rejected, match="must be one of"):
            commitment.listing(session, state="lost")
    assert entry["id"] == request
    assert (entry["instances"], entry["committed"], entry["open"]) == (3, 1, 0)
    assert entry["failed"] == {"0112": 2}
