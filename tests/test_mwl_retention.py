"""What is long over goes with all that belongs to it; what is open or needed stays."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update
from sqlmodel import SQLModel

from mwl import retention
from mwl.config import Worklist
from mwl.errors import Outage
from mwl.orders import OrderState
from tests import closing_rows as rows
from tests.worklist_rows import NOW, insert_items, item

KEPT = Worklist(keep_days=365)
LATER = NOW + timedelta(days=366)
TABLES = (
    *("imaging_order", "requested_procedure", "scheduled_step", "step_station", "sighting"),
    *("performed_step", "performed_message", "performed_instance", "performed_link"),
    *("message", "message_order", "delivery", "commitment", "commitment_item"),
)


def table(name):
    return SQLModel.metadata.tables[name]


class Shelves:
    """A database with orders of long ago, each in a state of its own, and a newest one."""

    def __init__(self, database):
        self.database = database

    def orders(self, *states, **order):
        """Write an order in each of these states, numbered from 1, and one more behind them."""
        made = [
            item(n, "CT1", order={"status": state, **order}, step={"state": step_of(state)})
            for n, state in enumerate([*states, "SCHEDULED"], 1)
        ]
        return self.write(lambda session: insert_items(session, made))

    def write(self, work):
        return self.database.write(work)

    def put(self, name, **values):
        return self.write(lambda s: s.connection().execute(insert(table(name)).values(**values)))

    def all(self, name, *columns):
        it = table(name)
        wanted = [it.c[each] for each in columns] or list(it.c)
        with self.database.read() as session:
            found = session.connection().execute(select(*wanted).order_by(*it.primary_key))
            return [tuple(row) for row in found]

    def numbers(self):
        return [number for (number,) in self.all("imaging_order", "order_number")]

    def counts(self):
        return {name: len(self.all(name)) for name in TABLES}

    def clear(self, now=LATER, keep=KEPT, **how):
        keeper = retention.Keeper(self.database, keep, pause=lambda _: None, **how)
        return dict(keeper.run(now))

    def mpps(self, *steps, state="COMPLETED", at=NOW, listed=(), **stated):
        row = self.write(lambda s: rows.report(s, steps, state, listed, at=at, **stated))
        self.put(
            "performed_message",
            performed_step=row,
            operation="N-CREATE",
            ae_title="CT1",
            received_at=at,
            transfer_syntax="1.2.840.10008.1.2",
            data_set=b"data",
        )
        return row

    def message(self, order, raw=b"MSH", further=(), at=NOW):
        number = len(self.all("message")) + 1
        self.put(
            "message",
            id=number,
            received_at=at,
            state="applied",
            content_hash=b"",
            raw=raw,
            imaging_order=order,
            **dict.fromkeys(MESSAGE_TEXTS, ""),
            flags=[],
            ack=b"",
            changes={},
            repeats=0,
        )
        for each in further:
            self.put("message_order", message=number, imaging_order=each)
        return number

    def delivery(self, subject, state):
        self.put(
            "delivery",
            kind="order_status",
            destination="ris",
            subject=subject,
            payload={},
            state=state,
            control_id="",
            body=b"",
            attempts=1,
            next_at=NOW,
            claimed_by="",
            error="",
            answer=b"",
            created_at=NOW,
        )

    def commitment(self, state="reported", uid="1.2.3.4", at=NOW):
        number = len(self.all("commitment")) + 1
        self.put(
            "commitment",
            id=number,
            transaction_uid=f"1.2.{number}",
            items_digest=b"",
            ae_title="CT1",
            called_ae_title="MWL",
            state=state,
            may_call=True,
            held_by="",
            received_at=at,
            wait_until=at,
            next_at=at,
            claimed_by="",
        )
        self.put("commitment_item", commitment=number, sop_class_uid="1.2", sop_instance_uid=uid)


MESSAGE_TEXTS = (
    *("source", "peer", "control_id", "type", "ack_code", "error", "encoding", "listener"),
    *("profile", "patient_id", "accession_number"),
)


def step_of(state):
    over = {"CLOSED": "COMPLETED", "EXPIRED": "SCHEDULED", "IN_PROGRESS": "STARTED"}
    return over.get(state, state)


@pytest.fixture
def shelves(database):
    return Shelves(database)


@pytest.fixture
def sqlite_shelves(sqlite_database):
    return Shelves(sqlite_database)


def test_what_is_over_goes_whole_and_what_is_open_stays(shelves):
    steps = shelves.orders(*OrderState)
    for number, step in enumerate(steps, 1):
        shelves.mpps(f"SPS{number}", listed=(f"1.2.3.{number}",))
        shelves.put(
            "sighting", step=step, ae_title="CT1", address="", count=1, shown={}, **seen(NOW)
        )
        shelves.message(number)
        shelves.delivery(f"order:{number}", "done")
    shelves.mpps()  # the newest stays
    gone = {"DISCONTINUED": 4, "CANCELED": 5, "EXPIRED": 6, "CLOSED": 7}
    assert [list(OrderState).index(state) + 1 for state in gone] == list(gone.values())
    assert shelves.clear() == {"orders": 4}
    assert shelves.numbers() == ["F1", "F2", "F3", "F8"]
    left = shelves.counts()
    for name in ("requested_procedure", "scheduled_step", "step_station", "performed_instance"):
        assert left[name] == 4
    assert (left["sighting"], left["performed_link"], left["delivery"]) == (4, 4, 4)
    assert (left["performed_step"], left["performed_message"]) == (5, 5)
    # The journal keeps its messages for as long as it does; they lead nowhere now.
    leads = [order for (order,) in shelves.all("message", "imaging_order")]
    assert leads == [1, 2, 3, None, None, None, None, 8]


def seen(at):
    return {"first_at": at, "last_at": at}


@pytest.mark.parametrize("days", [0, 1, 364.9])
def test_what_is_not_over_for_long_stays(sqlite_shelves, days):
    sqlite_shelves.orders("CLOSED", "CANCELED")
    sqlite_shelves.mpps()
    sqlite_shelves.mpps()
    sqlite_shelves.commitment()
    assert sqlite_shelves.clear(NOW + timedelta(days=days)) == {}
    assert sqlite_shelves.clear(LATER, Worklist(keep_days=0)) == {}
    assert sqlite_shelves.counts()["imaging_order"] == 3
    assert Worklist().keep_days == 0


def test_each_order_that_went_is_in_the_trail(sqlite_shelves):
    sqlite_shelves.orders("CLOSED", "CANCELED")
    sqlite_shelves.clear()
    trail = sqlite_shelves.all("audit_event", "who", "action", "subject", "detail", "at")
    assert trail == [
        ("mwl", "remove", f"order:{number}", detail, LATER)
        for number, detail in (
            (1, over("ACC1", "CLOSED")),
            (2, over("ACC2", "CANCELED")),
        )
    ]


def over(accession, status):
    return {
        "accession numbers": [accession],
        "status": status,
        "over since": NOW.isoformat(timespec="seconds"),
    }


# ---- what is needed


def test_an_order_stays_as_long_as_its_images_and_so_does_what_was_told_of_it(shelves):
    steps = shelves.orders("CLOSED")
    study = "1.2.826.0.1.3680043.8.498.1"
    shelves.mpps("SPS1", listed=("1.2.3.4",))
    shelves.mpps()
    shelves.write(lambda s: rows.store(s, "1.2.3.4", study, at=NOW))
    shelves.commitment(uid="1.2.3.4")
    for at in (NOW, LATER):
        values = {"address": "", "count": 1, "shown": {}, **seen(at)}
        shelves.put("sighting", step=steps[0], ae_title=f"CT{at.day}", **values)
    # What scanners were shown of it goes all the same.
    assert shelves.clear() == {"sightings": 1}
    assert shelves.all("study", "requested_procedure") == [(1,)]
    assert shelves.numbers() == ["F1", "F2"]
    assert shelves.counts()["performed_link"] == shelves.counts()["commitment"] == 1


@pytest.mark.parametrize("state", ["waiting", "blocked", "parked"])
def test_an_order_stays_while_somebody_is_to_be_told_of_it(sqlite_shelves, state):
    sqlite_shelves.orders("CLOSED")
    sqlite_shelves.delivery("order:1", state)
    assert sqlite_shelves.clear() == {}
    sqlite_shelves.write(
        lambda s: s.connection().execute(update(table("delivery")).values(state="dropped"))
    )
    assert sqlite_shelves.clear() == {"orders": 1}


def test_an_order_stays_while_a_scanner_works_on_it_or_a_report_refers_to_it(shelves):
    shelves.orders("CANCELED", "CANCELED", "CANCELED")
    shelves.mpps("SPS1", state="IN PROGRESS")
    report = {"source": "RIS", "number": "R1", "status": "final", "content_hash": b""}
    shelves.put("report", **report, received_at=NOW, imaging_order=2)
    assert shelves.clear() == {"orders": 1}
    assert shelves.numbers() == ["F1", "F2", "F4"]


def test_an_mpps_of_two_orders_stays_with_the_one_that_does(shelves):
    shelves.orders("CLOSED", "IN_PROGRESS")
    shelves.mpps("SPS1", "SPS2")
    assert shelves.clear() == {"orders": 1}
    assert shelves.all("performed_link", "scheduled_step") == [(2,)]
    assert shelves.counts()["performed_step"] == 1


def test_an_mpps_stays_as_long_as_images_of_it_that_are_another_order_s(shelves):
    shelves.orders("CANCELED", "IN_PROGRESS")
    row = shelves.mpps("SPS1", listed=("1.2.3.4",))
    shelves.mpps()
    shelves.write(lambda s: rows.store(s, "1.2.3.4", "1.2.826.0.1.3680043.8.498.2", at=NOW))
    assert shelves.clear() == {"orders": 1}
    assert (row,) in shelves.all("performed_step", "id")
    assert shelves.counts()["performed_link"] == 0
    assert shelves.clear() == {}


def test_a_message_of_two_orders_stays_with_the_one_that_does(sqlite_shelves):
    shelves = sqlite_shelves
    shelves.orders("CLOSED", "IN_PROGRESS", "CANCELED")
    shelves.message(1, raw=b"", further=(2,))
    shelves.message(2, raw=b"", further=(3,))
    emptied = shelves.message(1, raw=b"")
    kept = shelves.message(1, raw=b"MSH")
    newest = shelves.message(2)
    shelves.put("journal_progress", id=1, seen_to=9, counted_to=9, emptied_to=emptied)
    shelves.put("journal_day", day=f"{NOW:%Y-%m-%d}", messages=5, bytes=10_000)
    assert shelves.clear() == {"orders": 2}
    assert shelves.all("message", "id", "imaging_order") == [
        *((1, None), (2, 2), (kept, None), (newest, 2)),
    ]
    assert shelves.all("message_order") == [(1, 2)]
    ((_, messages, weight),) = shelves.all("journal_day")
    assert messages == 4
    assert weight < 10_000


def test_what_belongs_to_no_order_ages_too(shelves):
    shelves.orders()
    shelves.mpps(listed=("1.2.3.9",))
    running = shelves.mpps(state="IN PROGRESS")
    shown = shelves.mpps(study_instance_uid="1.2.77")
    listing = shelves.mpps(listed=("1.2.77.1",))
    recent = shelves.mpps(at=LATER)
    newest = shelves.mpps()
    shelves.write(lambda s: rows.store(s, "1.2.77.1", "1.2.77", at=NOW))
    for state in ("reported", "untold", "waiting", "queued", "judged", "reported"):
        shelves.commitment(state)
    assert shelves.clear() == {"performed_steps": 1, "commitments": 2}
    kept = [number for (number,) in shelves.all("performed_step", "id")]
    assert kept == [running, shown, listing, recent, newest]
    assert [state for (state,) in shelves.all("commitment", "state")] == [
        *("waiting", "queued", "judged", "reported"),
    ]
    assert shelves.counts()["commitment_item"] == 4


def test_the_newest_of_each_stays_so_that_no_number_is_given_again(sqlite_shelves):
    shelves = sqlite_shelves
    shelves.orders("CLOSED", "CLOSED", "CLOSED")
    conn = shelves.database
    over_ = update(table("imaging_order")).values(status="CANCELED")
    conn.write(lambda s: s.connection().execute(over_))
    # The newest step is one that was added to an old order.
    moved = update(table("requested_procedure")).where(table("requested_procedure").c.id == 4)
    conn.write(lambda s: s.connection().execute(moved.values(imaging_order=2)))
    assert shelves.clear() == {"orders": 2}
    assert shelves.numbers() == ["F2", "F4"]


# ---- how it goes on


def test_who_is_killed_in_between_has_removed_whole_orders_and_the_next_goes_on(
    shelves, monkeypatch
):
    shelves.orders(*["CLOSED"] * 5)
    for number in range(1, 6):
        shelves.mpps(f"SPS{number}", listed=(f"1.2.3.{number}",))
    shelves.mpps()
    whole = retention.keeper.orders.audit.record
    calls = []

    def dies(*args, **named):
        calls.append(args)
        if len(calls) == 3:
            raise Outage("the machine is gone")
        whole(*args, **named)

    monkeypatch.setattr(retention.keeper.orders.audit, "record", dies)
    with pytest.raises(Outage):
        shelves.clear()
    left = shelves.counts()
    assert (left["imaging_order"], left["performed_link"], left["performed_message"]) == (4, 3, 4)
    assert shelves.clear() == {"orders": 3}
    assert shelves.clear() == {}
    assert shelves.numbers() == ["F6"]


def test_what_can_not_be_removed_is_passed_by(sqlite_shelves, monkeypatch):
    sqlite_shelves.orders("CLOSED", "CLOSED")
    leave = retention.keeper.orders.journal.leave

    def fails(conn, order):
        if order == 1:
            raise ValueError("a defect")
        leave(conn, order)

    monkeypatch.setattr(retention.keeper.orders.journal, "leave", fails)
    assert sqlite_shelves.clear() == {"orders": 1}
    assert sqlite_shelves.numbers() == ["F1", "F3"]


def test_two_nodes_remove_each_order_once(postgresql_database):
    from threading import Thread

    shelves = Shelves(postgresql_database)
    shelves.orders(*["CLOSED"] * 12)
    gone = []
    nodes = [Thread(target=lambda: gone.append(shelves.clear())) for _ in range(2)]
    for node in nodes:
        node.start()
    for node in nodes:
        node.join()
    assert sum(each.get("orders", 0) for each in gone) == 12
    assert shelves.numbers() == ["F13"]
    assert len(shelves.all("audit_event")) == 12


def test_a_run_ends_in_time_and_the_next_goes_on_where_it_was(sqlite_shelves, monkeypatch):
    shelves = sqlite_shelves
    shelves.orders(*["CLOSED"] * 3)
    clock = iter(range(100))
    monkeypatch.setattr(retention.keeper.time, "monotonic", lambda: next(clock))
    keeper = retention.Keeper(shelves.database, KEPT, budget_s=4, pause=lambda _: None)
    assert keeper.run(LATER) == {"orders": 1}
    assert keeper.run(LATER) == {"orders": 1}
    monkeypatch.undo()
    assert keeper.run(LATER) == {"orders": 1}
    # All is walked along: the next walk is an hour later.
    assert keeper.run(LATER + timedelta(minutes=59)) == {}
    shelves.write(
        lambda s: s.connection().execute(update(table("imaging_order")).values(status="CLOSED"))
    )
    shelves.write(lambda s: insert_items(s, [item(9)]))
    assert keeper.run(LATER + timedelta(minutes=59)) == {}
    assert keeper.run(LATER + timedelta(minutes=61)) == {"orders": 1}


def test_it_takes_a_fifth_of_the_time_whatever_others_take(sqlite_shelves, monkeypatch):
    shelves = sqlite_shelves
    shelves.orders(*["CLOSED"] * 3)
    remove = retention.keeper.orders.SHELF.remove
    clock = [0.0]

    def takes_long(*given):
        clock[0] += 0.1  # itself, or waiting for others
        return remove(*given)

    slow = retention.keeper.orders.SHELF._replace(remove=takes_long)
    monkeypatch.setattr(retention.keeper, "_SHELVES", (slow,))
    monkeypatch.setattr(retention.keeper.time, "monotonic", lambda: clock[0])
    rests = []
    keeper = retention.Keeper(shelves.database, KEPT, pause=rests.append)
    assert keeper.run(LATER) == {"orders": 3}
    assert rests[:3] == pytest.approx([0.4] * 3)


def test_all_that_scanners_were_shown_goes_in_one_walk(sqlite_shelves, monkeypatch):
    shelves = sqlite_shelves
    (step, *_) = shelves.orders("CLOSED")
    shelves.write(lambda s: rows.store(s, "1.2.3.4", "1.2.826.0.1.3680043.8.498.1", at=NOW))
    for number in range(5):
        values = {"address": "", "count": 1, "shown": {}, **seen(NOW)}
        shelves.put("sighting", step=step, ae_title=f"CT{number}", **values)
    monkeypatch.setattr(retention.keeper.sights, "AT_ONCE", 2)
    assert shelves.clear() == {"sightings": 5}


def test_a_merge_is_taken_back_though_its_orders_have_gone(database):
    from mwl.worklist import unmerging

    shelves = Shelves(database)
    shelves.orders("CLOSED", "CLOSED")
    merge = {"source": "ADT", "stated_at": NOW, "applied_at": NOW, "renumbered": False}
    moved = {"moved": {"orders": [2]}, "counts": {}, "visits": [[2, "V1", ""]], "former": {}}
    shelves.put("patient_merge", loser=2, survivor=1, prior=2, **merge, **moved)
    into = update(table("patient")).where(table("patient").c.id == 2).values(merged_into=1)
    shelves.write(lambda s: s.connection().execute(into))
    assert shelves.clear() == {"orders": 2}
    done = shelves.write(lambda s: unmerging.unmerge(s, 1, by="ann", now=LATER))
    assert done.orders == 0
    assert shelves.all("patient", "merged_into") == [(None,)] * 3


def test_a_message_about_an_order_that_went_makes_a_new_one(database, tmp_path):
    from tests.builders import orm
    from tests.scene import Scene

    scene = Scene(database, tmp_path)
    scene.hear(orm())
    scene.hear(orm(ORC_1="CA"))
    shelves = Shelves(database)
    shelves.write(lambda s: insert_items(s, [item(9)]))
    assert shelves.clear(scene.now + timedelta(days=366)) == {"orders": 1}
    assert b"MSA|AA" in scene.hear(orm(ORC_1="XO"))
    assert ("FO1", "SCHEDULED") in shelves.all("imaging_order", "order_number", "status")
