"""An order closes by each of its routes, on both databases, and stays closed."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import select

from mwl import archive, closing, worklist
from mwl.closing_rules import OTHER_PATIENT, QUARANTINED, UNLINKED
from mwl.config import Close
from mwl.db.tables import ImagingOrder, ScheduledStep
from mwl.errors import Reason, Rejected
from mwl.matching import Single
from mwl.orders import Action, OrderChange, OrderState, ProcedureChange, StepChange
from mwl.outbox import Destination, Destinations
from mwl.patients import Identifier, PatientChange
from mwl.worklist import manual, standing
from mwl.worklist.find import Query, first
from mwl.worklist.manual import Which
from mwl.worklist.scope import Caller
from tests import closing_rows as rows
from tests.closing_rows import TOLD
from tests.worklist_rows import NOW, insert_items, item

ZONE = ZoneInfo("Europe/Berlin")
HERE = Close()
STUDY = "1.2.3"


def minutes(number):
    return NOW + timedelta(minutes=number)


def days(number):
    return NOW + timedelta(days=number)


def message(action=Action.CREATE, at=NOW, steps=("S1",), start=NOW, stations=("CT1",)):
    changes = [StepChange(each, start, stations, {"modality": "CT"}) for each in steps]
    return OrderChange(
        source="RIS^HOSPITAL",
        action=action,
        number=Identifier("F1", "RIS"),
        patient=PatientChange(Identifier("P1", "HOSP"), fields={"patient_name": "Doe^Jane"}),
        at=at,
        procedures=[ProcedureChange("RP1", "RP1", STUDY, steps=changes)],
    )


def receive(database, change, now=NOW):
    return database.write(lambda s: worklist.apply(s, change, now=now, zone=ZONE))


def write(database, *work):
    """Do each (function of tests.closing_rows, arguments …) in one transaction."""

    def all_of(session):
        for do, args, named in work:
            do(session, *args, **named)

    database.write(all_of)


def did(do, *args, **named):
    return do, args, named


def complete(database, *steps, listed=(), at=NOW, **report):
    """Let the scanner complete steps: what a service does when N-SET says COMPLETED."""

    def work(session):
        rows.report(session, steps, listed=listed, at=at, **report)
        for each in steps:
            rows.end_step(session, each)
        session.flush()
        (order,) = session.exec(select(ImagingOrder.id)).all()
        conn = session.connection()
        standing.settle(conn, standing.hold(conn, order).first()._asdict(), at)
        return closing.consider(session, order, HERE, at, TOLD)

    return database.write(work)


def sweep(database, now, close=HERE, told=TOLD):
    closing.sweep(database, close, now, told)


def status(database):
    return rows.order(database).status


def visible(database, now, keys=None):
    with database.read() as session:
        query = Query(("sps_id",), keys or {}, Caller("CT1"))
        return [row[0] for row in first(session, query, now=now, most=100)]


# ---- archived --------------------------------------------------------------------------------


def test_an_order_whose_images_are_here_closes_with_its_mpps(database):
    receive(database, message())
    write(database, *(did(rows.store, uid, STUDY, at=NOW) for uid in ("1.1", "1.2")))
    assert complete(database, "S1", listed=["1.1", "1.2"], at=minutes(1)) is OrderState.CLOSED
    closed = rows.order(database)
    assert (closed.status, closed.closed_by) == ("CLOSED", "archived")
    assert (closed.closed_at, closed.check_at) == (minutes(1), None)
    assert rows.told(database) == ["CLOSED"]


def test_the_last_image_closes_an_order_that_was_completed_before(database):
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    assert complete(database, "S1", listed=["1.1", "1.2"]) is OrderState.COMPLETED
    closing.follow(database, HERE, minutes(1), TOLD)
    assert status(database) == "COMPLETED"
    write(database, did(rows.store, "1.2", STUDY, at=minutes(2)))
    closing.follow(database, HERE, minutes(3), TOLD)
    assert status(database) == "CLOSED"
    assert rows.told(database) == ["CLOSED"]


def test_an_image_that_is_kept_but_not_served_is_not_here(database):
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW, state="quarantined"))
    assert complete(database, "S1", listed=["1.1"]) is OrderState.COMPLETED
    sweep(database, minutes(10))
    assert status(database) == "COMPLETED"


def test_completed_with_none_listed_never_closes_by_itself(database):
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    assert complete(database, "S1") is OrderState.COMPLETED
    for now in (minutes(1), days(1), days(100)):
        sweep(database, now)
    waiting = rows.order(database)
    assert (waiting.status, waiting.check_at, waiting.flags) == ("COMPLETED", None, [])


def test_images_that_do_not_come_are_asked_for_once_until_they_do(database):
    receive(database, message())
    complete(database, "S1", listed=["1.1"])
    sweep(database, minutes(23 * 60))
    assert rows.order(database).flags == []
    for hours in (24, 48, 72, 96):
        sweep(database, minutes(hours * 60))
    assert rows.order(database).flags == [closing.ASKED]
    write(database, did(rows.store, "1.1", STUDY, at=days(5)))
    sweep(database, days(6))
    closed = rows.order(database)
    assert (closed.status, closed.flags) == ("CLOSED", [])


@pytest.mark.parametrize("first", ["WS1", "CT1"])
def test_what_a_scanner_listed_is_not_here_while_its_own_is_quarantined(database, first):
    receive(database, message())
    write(
        database,
        did(rows.store, "1.1", STUDY, at=NOW, source=first),
        did(rows.set_aside, "1.1", at=NOW, source="ct1"),
    )
    assert complete(database, "S1", listed=["1.1"]) is OrderState.COMPLETED
    sweep(database, minutes(1))
    assert rows.order(database).flags == []
    sweep(database, days(2))
    waiting = rows.order(database)
    assert (waiting.status, waiting.flags) == ("COMPLETED", [QUARANTINED])
    order = waiting.id
    database.write(lambda s: closing.close(s, order, days(3), TOLD))
    assert (status(database), rows.order(database).flags) == ("CLOSED", [])


def test_what_others_sent_in_vain_keeps_no_order_open(database):
    receive(database, message())
    write(
        database,
        # What the scanner first sent wrongly, and then rightly.
        did(rows.set_aside, "1.1", at=NOW),
        did(rows.store, "1.1", STUDY, at=NOW),
        did(rows.set_aside, "1.1", at=NOW, source="CT9"),
    )
    assert complete(database, "S1", listed=["1.1"]) is OrderState.CLOSED


def test_an_image_of_another_order_is_not_here(database):
    receive(database, message())
    insert = did(lambda s: insert_items(s, [item(9, procedure={"study_instance_uid": "9.9"})]))
    images = [did(rows.store, uid, of, at=NOW) for uid, of in (("1.1", "9.9"), ("1.2", "8.8"))]
    write(database, insert, *images, did(rows.store, "1.3", STUDY, at=NOW))
    order = of_s1(database).id
    complete_only(database, order, listed=["1.1", "1.2", "1.3"])
    assert of_s1(database).status == "COMPLETED"
    sweep(database, days(2))
    assert (of_s1(database).status, of_s1(database).flags) == ("COMPLETED", [UNLINKED])
    for uid in ("9.9", "8.8"):
        database.write(lambda s, uid=uid: archive.link(s, uid, order=order))
    sweep(database, days(4))
    assert (of_s1(database).status, of_s1(database).flags) == ("CLOSED", [])


def test_each_reason_is_told_once(database):
    receive(database, message())
    write(database, did(rows.set_aside, "1.1", at=NOW), did(rows.store, "1.2", "8.8", at=NOW))
    complete(database, "S1", listed=["1.1", "1.2", "1.3"])
    for day in (2, 4, 6):
        sweep(database, days(day))
    assert rows.order(database).flags == [closing.ASKED, QUARANTINED, UNLINKED]


def test_a_group_of_orders_is_scanned_into_the_study_of_one(database):
    receive(database, message())
    write(
        database,
        did(lambda s: insert_items(s, [item(9, procedure={"study_instance_uid": "9.9"})])),
        did(rows.store, "1.1", "9.9", at=NOW),
    )
    order = of_s1(database).id
    complete_only(database, order, "SPS9", listed=["1.1"])
    assert of_s1(database).status == "CLOSED"


def of_s1(database):
    with database.read() as session:
        found = session.exec(select(ImagingOrder).where(ImagingOrder.order_number == "F1")).one()
        session.expunge_all()
        return found


def complete_only(database, order, *others, listed):
    """Let the scanner complete S1 of one order of several, and `others` with the same MPPS."""

    def work(session):
        rows.report(session, ["S1", *others], listed=listed, at=NOW)
        rows.end_step(session, "S1")
        session.flush()
        conn = session.connection()
        standing.settle(conn, standing.hold(conn, order).first()._asdict(), NOW)
        closing.consider(session, order, HERE, NOW, TOLD)

    database.write(work)


NAMED = "the MPPS names another patient than the order"


@pytest.mark.parametrize("close", [HERE, Close(images="elsewhere")])
def test_an_mpps_of_another_patient_leaves_its_order_to_a_person(database, close):
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    complete(database, "S1", listed=["1.1"], flags=[NAMED])
    for day in (1, 2, 40):
        sweep(database, days(day), close)
    waiting = rows.order(database)
    assert (waiting.status, waiting.flags) == ("COMPLETED", [OTHER_PATIENT])
    order = waiting.id
    database.write(lambda s: closing.close(s, order, days(41), TOLD))
    closed = rows.order(database)
    assert (closed.status, closed.closed_by, closed.flags) == ("CLOSED", "hand", [])


@pytest.mark.parametrize(
    ("state", "by"), [("DISCONTINUED", "step"), ("COMPLETED", "hand")], ids=["over", "by hand"]
)
def test_an_mpps_that_binds_nobody_or_that_a_person_linked_stops_nothing(database, state, by):
    receive(database, message())
    write(
        database,
        did(rows.store, "1.1", STUDY, at=NOW),
        did(rows.report, ["S1"], state, ["1.1"], at=NOW, by=by, flags=[NAMED]),
    )
    assert complete(database, "S1", listed=["1.1"]) is OrderState.CLOSED


def test_every_step_of_an_order_counts(database):
    receive(database, message(steps=("S1", "S2")))
    write(database, *(did(rows.store, uid, STUDY, at=NOW) for uid in ("1.1", "1.2")))
    assert complete(database, "S1", listed=["1.1"]) is OrderState.IN_PROGRESS
    sweep(database, minutes(1))
    assert status(database) == "IN_PROGRESS"
    assert complete(database, "S2", listed=["1.2", "1.3"], at=minutes(2)) is OrderState.COMPLETED
    write(database, did(rows.store, "1.3", STUDY, at=minutes(3)))
    sweep(database, minutes(4))
    assert status(database) == "CLOSED"


def test_one_mpps_may_complete_several_steps(database):
    receive(database, message(steps=("S1", "S2")))
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    assert complete(database, "S1", "S2", listed=["1.1"]) is OrderState.CLOSED


def test_several_mpps_of_a_step_are_one_and_what_was_discontinued_binds_nobody(database):
    receive(database, message())
    write(
        database,
        did(rows.store, "1.1", STUDY, at=NOW),
        did(rows.report, ["S1"], "DISCONTINUED", ["1.8"], at=NOW),
        did(rows.report, ["S1"], "COMPLETED", ["1.2"], at=NOW),
    )
    assert complete(database, "S1", listed=["1.1"]) is OrderState.COMPLETED
    write(database, did(rows.store, "1.2", STUDY, at=NOW))
    sweep(database, minutes(1))
    assert status(database) == "CLOSED"


def test_an_order_does_not_close_while_an_mpps_of_it_goes_on(database):
    receive(database, message())
    write(
        database,
        did(rows.store, "1.1", STUDY, at=NOW),
        did(rows.report, ["S1"], "IN PROGRESS", at=NOW),
    )
    assert complete(database, "S1", listed=["1.1"]) is OrderState.COMPLETED
    sweep(database, days(2))
    assert status(database) == "COMPLETED"


def test_a_discontinued_step_beside_a_completed_one_does_not_keep_an_order_open(database):
    receive(database, message(steps=("S1", "S2")))
    write(
        database,
        did(rows.store, "1.1", STUDY, at=NOW),
        did(rows.report, ["S2"], "DISCONTINUED", ["1.2"], at=NOW),
        did(rows.end_step, "S2", "DISCONTINUED"),
    )
    assert complete(database, "S1", listed=["1.1"]) is OrderState.CLOSED


# ---- elsewhere -------------------------------------------------------------------------------


def test_where_images_go_elsewhere_completed_alone_closes(database):
    receive(database, message())
    receive(database, message(Action.COMPLETE, minutes(1)))
    assert status(database) == "COMPLETED"
    closing.follow(database, Close(images="elsewhere"), minutes(2), TOLD)
    closed = rows.order(database)
    assert (closed.status, closed.closed_by) == ("CLOSED", "elsewhere")


def test_what_the_ris_completed_does_not_close_where_images_are_kept_here(database):
    receive(database, message())
    receive(database, message(Action.COMPLETE, minutes(1)))
    sweep(database, days(2))
    assert (status(database), rows.told(database)) == ("COMPLETED", [])


@pytest.mark.parametrize(
    ("go", "closed"),
    [
        (["elsewhere"], "CLOSED"),
        (["elsewhere", "elsewhere"], "CLOSED"),
        (["elsewhere", "here"], "COMPLETED"),
        (["elsewhere", ""], "COMPLETED"),
        ([""], "COMPLETED"),
    ],
)
def test_a_scanner_without_mpps_says_where_its_images_go_as_well(database, go, closed):
    titles = [f"CT{number}" for number in range(1, len(go) + 1)]
    receive(database, message(stations=tuple(titles)))
    for title, where in zip(titles, go, strict=True):
        write(database, did(rows.device, title, mpps=False, close_images=where, now=NOW))
    receive(database, message(Action.COMPLETE, minutes(1)))
    closing.follow(database, HERE, minutes(2), TOLD)
    assert status(database) == closed


# ---- quiet -----------------------------------------------------------------------------------


def silent_scanner(database, **image):
    receive(database, message())
    write(
        database,
        did(rows.device, "CT1", mpps=False, now=NOW),
        did(rows.store, "1.1", STUDY, at=NOW, **image),
    )


def test_a_quiet_study_of_a_scanner_without_mpps_ends_and_closes_its_order(database):
    silent_scanner(database)
    sweep(database, minutes(1))
    assert rows.order(database).check_at == minutes(120)
    write(database, did(rows.store, "1.2", STUDY, at=minutes(60)))
    closing.follow(database, HERE, minutes(120), TOLD)
    assert (status(database), rows.told(database)) == ("SCHEDULED", [])
    closing.follow(database, HERE, minutes(180), TOLD)
    closed = rows.order(database)
    assert (closed.status, closed.closed_by) == ("CLOSED", "quiet")
    assert rows.only(database, ScheduledStep).state == "COMPLETED"
    # The RIS hears of a beginning before it hears of the end.
    assert rows.told(database) == ["IP", "CM", "CLOSED"]


def test_a_step_that_the_ris_began_is_not_begun_again(database):
    silent_scanner(database)
    receive(database, message(Action.START, minutes(1)))
    sweep(database, minutes(121))
    assert rows.told(database) == ["CM", "CLOSED"]


@pytest.mark.parametrize("source", ["PACS", "CT2", ""])
def test_images_from_elsewhere_end_nothing(database, source):
    silent_scanner(database, source=source)
    for now in (minutes(121), days(2)):
        sweep(database, now)
    assert (status(database), rows.order(database).check_at) == ("SCHEDULED", None)


def test_a_scanner_that_sends_mpps_is_never_taken_to_be_done_by_silence(database):
    receive(database, message())
    write(
        database,
        did(rows.device, "CT1", now=NOW),
        did(rows.device, "CT9", mpps=False, now=NOW),
        did(rows.store, "1.1", STUDY, at=NOW),
    )
    sweep(database, days(2))
    assert status(database) == "SCHEDULED"


@pytest.mark.parametrize("state", ["IN PROGRESS", "DISCONTINUED"])
def test_an_mpps_outranks_silence(database, state):
    silent_scanner(database)
    write(database, did(rows.report, ["S1"], state, at=NOW))
    sweep(database, days(2))
    assert status(database) == "SCHEDULED"


def test_a_series_tells_which_step_it_was_made_for(database):
    receive(database, message(steps=("S1", "S2")))
    request = [{"ScheduledProcedureStepID": "S1"}]
    write(
        database,
        did(rows.device, "ct1", mpps=False, now=NOW),
        did(rows.store, "1.1", STUDY, at=NOW, request=request),
    )
    sweep(database, minutes(121))
    assert (status(database), rows.told(database)) == ("IN_PROGRESS", ["IP"])
    write(database, did(rows.store, "1.2", STUDY, at=minutes(200)))
    sweep(database, minutes(201))
    sweep(database, minutes(321))
    assert (status(database), rows.told(database)) == ("CLOSED", ["IP", "CM", "CLOSED"])


def test_a_step_that_no_station_is_given_to_may_be_done_on_any_of_its_modality(database):
    receive(database, message(stations=None))
    write(
        database,
        did(rows.device, "CT7", mpps=False, now=NOW),
        did(rows.store, "1.1", STUDY, at=NOW, source="CT7"),
    )
    sweep(database, minutes(121))
    assert status(database) == "CLOSED"


def test_images_that_come_after_the_ris_completed_their_order_close_it_when_quiet(database):
    receive(database, message())
    write(database, did(rows.device, "CT1", mpps=False, now=NOW))
    receive(database, message(Action.COMPLETE, minutes(1)), minutes(1))
    sweep(database, minutes(2))
    write(database, did(rows.store, "1.1", STUDY, at=minutes(10)))
    sweep(database, minutes(11))
    assert status(database) == "COMPLETED"
    sweep(database, minutes(131))
    assert (status(database), rows.told(database)) == ("CLOSED", ["CLOSED"])


# ---- by hand ---------------------------------------------------------------------------------


def order_id(database):
    return rows.order(database).id


def test_a_person_closes_what_is_completed_and_nothing_else(database):
    receive(database, message())
    number = order_id(database)
    with pytest.raises(Rejected) as caught:
        database.write(lambda s: closing.close(s, number, NOW, TOLD))
    assert caught.value.faults[0].reason is Reason.FINAL
    complete(database, "S1")
    database.write(lambda s: closing.close(s, number, minutes(1), TOLD))
    closed = rows.order(database)
    assert (closed.status, closed.closed_by) == ("CLOSED", "hand")
    assert rows.told(database) == ["CLOSED"]
    with pytest.raises(Rejected):
        database.write(lambda s: closing.close(s, number, minutes(2), TOLD))


def test_a_person_reopens_what_is_closed(database):
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    complete(database, "S1", listed=["1.1"])
    database.write(lambda s: manual.reopen(s, Which(sps_id="S1"), now=minutes(1)))
    again = rows.order(database)
    assert (again.status, again.closed_at, again.closed_by) == ("SCHEDULED", None, "")
    sweep(database, minutes(2))
    assert status(database) == "SCHEDULED"
    assert complete(database, "S1", listed=["1.1"], at=minutes(3)) is OrderState.CLOSED


# ---- nothing goes backwards ---------------------------------------------------------------------


@pytest.mark.parametrize("at", [NOW, minutes(30), None])
@pytest.mark.parametrize("action", list(Action))
def test_no_message_about_what_is_done_moves_a_closed_order(sqlite_database, action, at):
    database = sqlite_database
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    complete(database, "S1", listed=["1.1"])
    before = rows.order(database)
    receive(database, message(action, at), minutes(40))
    sweep(database, minutes(41))
    after = rows.order(database)
    assert (after.status, after.closed_at) == ("CLOSED", before.closed_at)
    assert rows.only(database, ScheduledStep).state == "COMPLETED"
    assert rows.told(database) == ["CLOSED"]


def test_late_images_and_mpps_are_added_and_reopen_nothing(database):
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    complete(database, "S1", listed=["1.1"])
    before = rows.order(database)
    write(database, did(rows.store, "1.2", STUDY, at=minutes(5)))
    assert complete(database, "S1", listed=["1.3"], at=minutes(6)) is OrderState.CLOSED
    sweep(database, minutes(7))
    assert rows.order(database).closed_at == before.closed_at
    assert rows.told(database) == ["CLOSED"]


def test_new_work_on_a_closed_order_opens_it_until_that_is_done_as_well(database):
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    complete(database, "S1", listed=["1.1"])
    receive(database, message(Action.UPDATE, minutes(5), steps=("S1", "S2")), minutes(5))
    opened = rows.order(database)
    assert (opened.status, opened.closed_at, opened.closed_by) == ("IN_PROGRESS", None, "")
    assert complete(database, "S2", listed=["1.2"], at=minutes(6)) is OrderState.COMPLETED
    write(database, did(rows.store, "1.2", STUDY, at=minutes(7)))
    sweep(database, minutes(8))
    assert status(database) == "CLOSED"


def test_only_who_wants_to_hear_of_closing_hears(database):
    receive(database, message())
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    complete(database, "S1", listed=["1.1", "1.2"])
    write(database, did(rows.store, "1.2", STUDY, at=NOW))
    sweep(database, minutes(1), told=Destinations((Destination("ris"),)))
    assert (status(database), rows.told(database)) == ("CLOSED", [])


# ---- expiry --------------------------------------------------------------------------------------


def test_an_order_that_was_never_begun_expires_and_scanners_no_longer_see_it(database):
    receive(database, message())
    sweep(database, days(30) - timedelta(seconds=1))
    assert (status(database), visible(database, days(30))) == ("SCHEDULED", ["S1"])
    sweep(database, days(30))
    gone = rows.order(database)
    assert (gone.status, gone.expired_at) == ("EXPIRED", days(30))
    assert rows.told(database) == []
    assert visible(database, days(30)) == []
    # Nor where a scanner asks for what is scheduled: on the wire there is no word for it.
    assert visible(database, days(30), {"status": Single("SCHEDULED")}) == []
    assert rows.only(database, ScheduledStep).state == "SCHEDULED"


def begin(database, state):
    receive(database, message(steps=("S1", "S2")))
    write(database, did(rows.end_step, "S1", state))
    number = order_id(database)

    def settle(session):
        conn = session.connection()
        standing.settle(conn, standing.hold(conn, number).first()._asdict(), NOW)

    database.write(settle)


@pytest.mark.parametrize("state", ["STARTED", "DEPARTED"])
def test_an_order_expires_in_no_part_while_a_step_is_under_way(database, state):
    begin(database, state)
    sweep(database, days(100))
    assert (status(database), rows.order(database).expired_at) == ("IN_PROGRESS", None)
    assert "S2" in visible(database, days(100))


def test_what_is_left_of_an_order_that_was_begun_expires_and_comes_back(database):
    begin(database, "COMPLETED")
    sweep(database, days(31))
    sweep(database, days(32))
    assert (status(database), rows.order(database).expired_at) == ("IN_PROGRESS", days(31))
    assert visible(database, days(32)) == []
    receive(database, message(Action.UPDATE, days(33), steps=("S2",)), days(33))
    assert (status(database), visible(database, days(33))) == ("IN_PROGRESS", ["S2"])
    write(database, did(rows.store, "1.1", STUDY, at=NOW))
    sweep(database, days(64))
    assert visible(database, days(64)) == []
    assert complete(database, "S2", at=days(65)) is OrderState.COMPLETED
    assert rows.order(database).expired_at is None


@pytest.mark.parametrize("action", [Action.CREATE, Action.UPDATE])
def test_an_update_brings_an_expired_order_back_for_its_days(database, action):
    receive(database, message())
    sweep(database, days(31))
    receive(database, message(action, days(32)), days(32))
    back = rows.order(database)
    assert (back.status, back.expired_at) == ("SCHEDULED", None)
    for now in (days(32), days(61)):
        sweep(database, now)
        assert visible(database, now) == ["S1"]
    sweep(database, days(62))
    assert (status(database), visible(database, days(62))) == ("EXPIRED", [])


def test_an_old_message_does_not_bring_an_expired_order_back(database):
    receive(database, message(at=minutes(5)))
    sweep(database, days(31))
    assert receive(database, message()).outcome is worklist.Outcome.STALE
    assert status(database) == "EXPIRED"


def test_an_expired_order_that_is_cancelled_is_cancelled(database):
    receive(database, message())
    sweep(database, days(31))
    receive(database, message(Action.CANCEL, days(32)), days(32))
    assert status(database) == "CANCELED"


def test_a_held_order_that_expired_is_held_when_it_comes_back(database):
    receive(database, message())
    receive(database, message(Action.HOLD, minutes(1)))
    sweep(database, days(31))
    assert status(database) == "EXPIRED"
    receive(database, message(Action.UPDATE, days(32)), days(32))
    assert rows.only(database, ScheduledStep).state == "HELD"
    assert visible(database, days(32)) == []


def test_a_person_brings_an_expired_order_back(database):
    receive(database, message())
    sweep(database, days(31))
    database.write(lambda s: manual.reopen(s, Which(sps_id="S1"), now=days(32)))
    sweep(database, days(33))
    assert (status(database), visible(database, days(33))) == ("SCHEDULED", ["S1"])


def test_a_scanner_that_does_an_expired_order_after_all_completes_it(database):
    receive(database, message())
    sweep(database, days(31))
    write(database, did(rows.store, "1.1", STUDY, at=days(32)))
    assert complete(database, "S1", listed=["1.1"], at=days(32)) is OrderState.CLOSED
    assert not rows.only(database, ScheduledStep).expired


def test_the_last_scheduled_step_decides(database):
    receive(database, message())
    later = message(Action.UPDATE, minutes(1), steps=("S2",), start=days(20))
    receive(database, later)
    sweep(database, days(31))
    assert status(database) == "SCHEDULED"
    sweep(database, days(50))
    assert status(database) == "EXPIRED"
