"""What scanners tell of their work, and what becomes of steps, orders and news."""

from contextlib import suppress
from datetime import timedelta
from itertools import product
from threading import Thread

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel

from mwl import procedures
from mwl.errors import Reason, Rejected
from mwl.outbox import Destination, Destinations
from mwl.performed import Created, Listed, Modified, PerformedState, Request
from mwl.procedures import Effects
from mwl.procedures.manual import Which
from tests.worklist_rows import NOW, insert_items, item

LATER = NOW + timedelta(minutes=20)
EVERYBODY = Effects(told=Destinations((Destination("ris"),)))
WRONG = "110514^DCM^Incorrect worklist entry selected"
UID = "1.2.3"


def study(number):
    return f"1.2.826.0.1.3680043.8.498.{number}"


def request(number=1, accession=""):
    return Request(study(number), f"SPS{number}", accession)


def created(*requests, uid=UID, **stated):
    values = {"patient_id": "P1", "modality": "CT", **stated}
    return Created(uid, "CT1", "1.2.840.10008.1.2", b"N-CREATE", requests or (request(),), **values)


def modified(state=None, uid=UID, ae_title="CT1", **stated):
    return Modified(uid, ae_title, "1.2.840.10008.1.2", b"N-SET", state, **stated)


class Site:
    """A database with orders, and what scanners do there."""

    def __init__(self, database):
        self.database = database

    def orders(self, *items):
        return self.database.write(lambda session: insert_items(session, items))

    def two_steps(self):
        """Make order 1 with steps SPS1 and SPS2."""
        first, second = self.orders(item(1), item(2))
        table = SQLModel.metadata.tables["requested_procedure"]
        order = self.all("requested_procedure")[0]["imaging_order"]
        self.database.write(
            lambda session: session.connection().execute(
                table.update().where(table.c.key == "RP2").values(imaging_order=order)
            )
        )
        return first, second

    def start(self, *requests, **stated):
        stated.setdefault("uid", UID)
        return self.database.write(
            lambda session: procedures.start(
                session, created(*requests, **stated), effects=EVERYBODY, now=NOW
            )
        )

    def set(self, state=None, **stated):
        effects = stated.pop("effects", EVERYBODY)
        return self.database.write(
            lambda session: procedures.update(
                session, modified(state, **stated), effects=effects, now=LATER
            )
        )

    def complete(self, uid=UID, **stated):
        return self.set(PerformedState.COMPLETED, uid=uid, **stated)

    def discontinue(self, reason=None, uid=UID):
        return self.set(PerformedState.DISCONTINUED, uid=uid, discontinuation=reason)

    def all(self, name):
        table = SQLModel.metadata.tables[name]
        with self.database.read() as session:
            rows = session.connection().execute(select(table).order_by(*table.primary_key))
            return [dict(row) for row in rows.mappings()]

    def states(self):
        return [row["state"] for row in self.all("scheduled_step")]

    def order(self):
        return self.all("imaging_order")[0]

    def news(self):
        return [row["payload"]["event"] for row in self.all("delivery")]

    def performed(self):
        return self.all("performed_step")[0]


@pytest.fixture
def site(database):
    return Site(database)


def test_a_scan_goes_from_begun_to_completed_and_the_ris_hears_of_both(site):
    site.orders(item(1))
    assert site.start() == []
    assert (site.states(), site.order()["status"]) == (["STARTED"], "IN_PROGRESS")
    assert site.news() == ["IP"]
    assert site.complete() == []
    assert (site.states(), site.order()["status"]) == (["COMPLETED"], "COMPLETED")
    assert site.news() == ["IP", "CM"]
    assert site.performed()["final_at"] == LATER


def test_what_was_received_is_kept_as_it_came(site):
    site.orders(item(1))
    site.start()
    site.set()
    site.complete()
    kept = [(row["operation"], row["data_set"]) for row in site.all("performed_message")]
    assert kept == [("N-CREATE", b"N-CREATE"), ("N-SET", b"N-SET"), ("N-SET", b"N-SET")]
    with site.database.read() as session:
        received = procedures.get(session, UID)
        assert received.state is PerformedState.COMPLETED
        assert [operation for operation, *_ in received.messages] == [
            "N-CREATE",
            "N-SET",
            "N-SET",
        ]
        assert procedures.get(session, "9.9") is None


def test_one_mpps_may_carry_out_several_steps(site):
    site.two_steps()
    site.start(request(1), request(2))
    assert site.states() == ["STARTED", "STARTED"]
    site.complete()
    assert site.states() == ["COMPLETED", "COMPLETED"]
    assert site.news() == ["IP", "CM"]


def test_an_order_is_complete_when_its_last_step_is(site):
    site.two_steps()
    site.start(request(1), uid="1.1")
    site.complete("1.1")
    assert (site.order()["status"], site.news()) == ("IN_PROGRESS", ["IP"])
    site.start(request(2), uid="1.2")
    assert site.news() == ["IP"]  # it had begun
    site.complete("1.2")
    assert (site.order()["status"], site.news()) == ("COMPLETED", ["IP", "CM"])


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        (("complete", "complete"), "COMPLETED"),
        (("complete", "discontinue"), "COMPLETED"),
        (("discontinue", "complete"), "COMPLETED"),
        (("discontinue", "discontinue"), "DISCONTINUED"),
    ],
)
def test_a_step_is_done_when_all_its_mpps_are(site, ends, state):
    site.orders(item(1))
    for uid in ("1.1", "1.2"):
        site.start(uid=uid)
    getattr(site, ends[0])(uid="1.1")
    assert site.states() == ["STARTED"]
    getattr(site, ends[1])(uid="1.2")
    assert site.states() == [state]
    assert site.news() == ["IP", "CM" if state == "COMPLETED" else "DC"]


def test_a_discontinued_order_is_told_once_all_is_over(site):
    site.two_steps()
    site.start(request(1), uid="1.1")
    site.discontinue(uid="1.1")
    assert "DC" not in site.news()
    site.start(request(2), uid="1.2")
    site.discontinue(uid="1.2")
    assert site.news()[-1] == "DC"
    assert site.order()["status"] == "DISCONTINUED"


def test_what_was_discontinued_may_be_completed_by_another_mpps(site):
    site.orders(item(1))
    site.start(uid="1.1")
    site.discontinue(uid="1.1")
    assert site.start(uid="1.2") == ["begun by a scanner after it was DISCONTINUED"]
    assert site.states() == ["DISCONTINUED"]
    site.complete("1.2")
    assert (site.states(), site.news()) == (["COMPLETED"], ["IP", "DC", "CM"])


def test_the_wrong_worklist_entry_goes_back_on_the_list_without_news(site):
    site.orders(item(1))
    site.start()
    site.discontinue(WRONG)
    assert (site.states(), site.order()["status"]) == (["SCHEDULED"], "SCHEDULED")
    assert site.news() == ["IP"]
    assert any("wrong worklist entry" in flag for flag in site.performed()["flags"])
    site.start(uid="1.2.4")
    site.complete("1.2.4")
    assert site.news() == ["IP", "IP", "CM"]


def test_another_mpps_of_the_step_outlives_a_wrong_entry(site):
    site.orders(item(1))
    site.start(uid="1.1")
    site.complete("1.1")
    site.start(uid="1.2")
    site.discontinue(WRONG, uid="1.2")
    assert site.states() == ["COMPLETED"]


@pytest.mark.parametrize("state", ["CANCELED", "COMPLETED", "DISCONTINUED"])
def test_a_final_step_does_not_go_back(site, state):
    site.orders(item(1, step={"state": state}, order={"status": state}))
    flags = site.start()
    assert flags == [f"begun by a scanner after it was {state}"]
    site.complete()
    assert (site.states(), site.order()["status"]) == ([state], state)
    assert site.news() == []
    assert site.order()["flags"][0] == flags[0]
    assert len(site.all("performed_link")) == 1


def test_an_expired_order_comes_back_when_it_is_begun(site):
    site.orders(item(1, order={"status": "EXPIRED", "expired_at": NOW}, step={"expired": True}))
    site.start()
    assert site.order()["expired_at"] is None
    assert (site.order()["status"], site.news()) == ("IN_PROGRESS", ["IP"])
    assert not site.all("scheduled_step")[0]["expired"]


def test_a_repeated_begin_is_refused(site):
    site.orders(item(1))
    site.start()
    with pytest.raises(Rejected) as error:
        site.start()
    assert error.value.faults[0].reason is Reason.DUPLICATE_KEY
    assert len(site.all("performed_message")) == 1


def test_what_was_never_begun_can_not_change(site):
    with pytest.raises(Rejected) as error:
        site.set()
    assert error.value.faults[0].reason is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("end", ["complete", "discontinue"])
def test_after_its_end_an_mpps_changes_no_more(site, end):
    site.orders(item(1))
    site.start()
    getattr(site, end)()
    before = site.all("performed_step"), site.all("performed_message")
    for again in (PerformedState.IN_PROGRESS, PerformedState.COMPLETED, None):
        with pytest.raises(Rejected) as error:
            site.set(again)
        assert error.value.faults[0].reason is Reason.FINAL
    assert before == (site.all("performed_step"), site.all("performed_message"))


def test_in_progress_again_changes_nothing(site):
    site.orders(item(1))
    site.start()
    site.set(PerformedState.IN_PROGRESS)
    assert (site.states(), site.news()) == (["STARTED"], ["IP"])


def test_a_later_list_of_instances_replaces_the_earlier(site):
    site.orders(item(1))
    many = tuple(Listed("1.2.840", f"9.{n}", "8.1") for n in range(100))
    site.start(listed=many[:1])
    site.set(listed=many)
    assert len(site.all("performed_instance")) == 100
    site.set()  # says nothing of them
    assert len(site.all("performed_instance")) == 100
    site.complete(listed=(many[0], many[1], many[0]))
    assert [row["sop_instance_uid"] for row in site.all("performed_instance")] == ["9.0", "9.1"]


def test_a_closing_rule_is_asked_when_work_is_complete(site):
    site.orders(item(1))
    asked = []
    effects = Effects(consider=lambda session, order, now: asked.append((order, now)))
    site.start()
    site.set(effects=effects)
    assert asked == []
    site.set(PerformedState.COMPLETED, effects=effects)
    assert asked == [(site.order()["id"], LATER)]


def test_by_accession_where_the_scanner_lost_the_identifiers(site):
    site.orders(item(1))
    flags = site.start(Request("9.9.9", "", "ACC1"))
    assert flags == ["linked by accession number: the scanner lost the step's identifiers"]
    assert site.states() == ["STARTED"]
    assert site.all("performed_link")[0]["by"] == "accession"
    assert site.order()["flags"] == flags


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"patient_id": "P2"}, "another patient"),
        ({"patient_id": ""}, "another patient"),
        ({"patient_id_issuer": "ELSEWHERE"}, "another patient"),
    ],
)
def test_an_accession_number_of_another_patient_links_nothing(site, stated, told):
    site.orders(item(1))
    flags = site.start(Request("9.9.9", "", "ACC1"), **stated)
    assert told in flags[0]
    assert site.performed()["unscheduled"]
    assert (site.states(), site.all("performed_link"), site.news()) == (["SCHEDULED"], [], [])


def test_by_its_study_where_the_scanner_had_no_order_in_hand(site):
    site.orders(item(1), item(2))
    flags = site.start(Request(study(1)))
    assert flags == ["linked by its study: the scanner named no step, and no accession number"]
    assert site.states() == ["STARTED", "SCHEDULED"]
    assert site.all("performed_link")[0]["by"] == "study"


@pytest.mark.parametrize(
    ("asked", "stated"),
    [
        (Request(study(1)), {"patient_id": "P2"}),
        (Request(study(1)), {"patient_id": ""}),
        (Request(study(1), "OTHER"), {}),  # it had one in hand, and that is not here
    ],
)
def test_a_study_alone_links_nothing_that_is_in_doubt(site, asked, stated):
    site.orders(item(1))
    site.start(asked, **stated)
    assert (site.states(), site.all("performed_link")) == (["SCHEDULED"], [])
    assert site.performed()["unscheduled"]


def test_an_accession_number_of_two_orders_links_nothing(site):
    site.orders(item(1), item(2, procedure={"accession_number": "ACC1"}))
    site.start(Request("9.9.9", "", "ACC1"))
    assert (site.states(), site.all("performed_link")) == (["SCHEDULED", "SCHEDULED"], [])


def test_another_patient_on_the_step_is_linked_and_shown_on_both_sides(site):
    site.orders(item(1))
    flags = site.start(patient_id="P2")
    assert flags == ["the MPPS names another patient than the order"]
    assert site.states() == ["STARTED"]
    assert site.order()["flags"] == site.performed()["flags"] == flags


def test_a_patient_merged_since_is_the_same(site):
    site.orders(item(1), item(2))
    table = SQLModel.metadata.tables["patient"]
    survivor = site.all("patient")[0]["id"]
    site.database.write(
        lambda session: session.connection().execute(
            table.update().where(table.c.patient_id == "P2").values(merged_into=survivor)
        )
    )
    assert site.start(patient_id="P2") == []


def test_work_without_an_order_is_kept(site):
    assert site.start(Request("9.9.9")) == ["no order on file for it"]
    site.complete()
    (entry,) = procedures.listing(site.database, now=NOW, unscheduled=True)
    assert entry["sop_instance_uid"] == UID
    assert entry["status"] == "COMPLETED"


@pytest.mark.parametrize("done", [False, True])
def test_a_late_order_is_linked_and_told(site, done):
    site.start()
    if done:
        site.complete()
    assert procedures.link_unscheduled(site.database, LATER, effects=EVERYBODY) == 0
    site.orders(item(1))
    assert procedures.link_unscheduled(site.database, LATER, effects=EVERYBODY) == 1
    assert site.states() == ["COMPLETED" if done else "STARTED"]
    assert site.news() == (["IP", "CM"] if done else ["IP"])
    assert not site.performed()["unscheduled"]
    assert procedures.link_unscheduled(site.database, LATER, effects=EVERYBODY) == 0
    assert site.news() == (["IP", "CM"] if done else ["IP"])


def test_a_second_request_finds_its_order_later(site):
    site.orders(item(1))
    site.start(request(1), request(2))
    assert site.performed()["unscheduled"]
    site.orders(item(2))
    assert procedures.link_unscheduled(site.database, LATER, effects=EVERYBODY) == 1
    assert site.states() == ["STARTED", "STARTED"]


def test_a_person_links_work_with_its_order(site):
    site.orders(item(1), item(2, procedure={"accession_number": "ACC2"}))
    site.start(Request("9.9.9"))
    site.complete()

    def link(which):
        return site.database.write(
            lambda session: procedures.link(session, UID, which, effects=EVERYBODY, now=LATER)
        )

    assert link(Which("ACC2")) == ["SPS2"]
    assert site.states() == ["SCHEDULED", "COMPLETED"]
    assert site.news() == ["IP", "CM"]
    assert site.all("performed_link")[0]["by"] == "hand"
    for which, reason in (
        (Which("ACC2"), Reason.DUPLICATE_KEY),
        (Which("ACC3"), Reason.UNKNOWN_KEY),
        (Which("ACC1", "SPS2"), Reason.UNKNOWN_KEY),
        (Which(""), Reason.MISSING),
    ):
        with pytest.raises(Rejected) as error:
            link(which)
        assert error.value.faults[0].reason is reason


def test_a_stuck_mpps_is_listed_and_may_be_ended_by_a_person(site):
    site.orders(item(1))
    site.start()

    def stuck(hours):
        now = NOW + timedelta(hours=hours)
        return list(procedures.listing(site.database, now=now, stuck=timedelta(hours=12)))

    def end(state):
        return site.database.write(
            lambda session: procedures.end(
                session, UID, state, by="jdoe", effects=EVERYBODY, now=LATER
            )
        )

    assert not stuck(11)
    assert [entry["sop_instance_uid"] for entry in stuck(13)] == [UID]
    end(PerformedState.DISCONTINUED)
    assert not stuck(13)
    assert (site.states(), site.news()) == (["DISCONTINUED"], ["IP", "DC"])
    assert site.performed()["ended_by"] == "jdoe"
    for again in (site.complete, lambda: end(PerformedState.COMPLETED)):
        with pytest.raises(Rejected) as error:
            again()
        assert error.value.faults[0].reason is Reason.FINAL


def test_another_scanner_that_changes_an_mpps_is_shown(site):
    site.orders(item(1))
    site.start()
    assert site.complete(ae_title="CT9") == ["changed by CT9, which did not begin it"]


def test_two_scanners_that_end_an_order_at_once_complete_it_once(site):
    site.two_steps()
    site.start(request(1), uid="1.1")
    site.start(request(2), uid="1.2")
    threads = [Thread(target=site.complete, args=(uid,)) for uid in ("1.1", "1.2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert site.order()["status"] == "COMPLETED"
    assert site.news() == ["IP", "CM"]


def test_whatever_two_mpps_of_a_step_say_an_end_is_told_after_a_beginning_and_once(site):
    acts = ("complete", "discontinue", "wrong")
    for number, (one, two) in enumerate(product(acts, acts), 1):
        site.orders(item(number, patient={"patient_id": f"X{number}"}))
        uids = (f"1.{number}.1", f"1.{number}.2")
        for uid, act in zip(uids, (one, two), strict=True):
            site.start(request(number), uid=uid, patient_id=f"X{number}")
            with suppress(Rejected):
                if act == "wrong":
                    site.discontinue(WRONG, uid=uid)
                else:
                    getattr(site, act)(uid=uid)
        heard = [
            row["payload"]["event"]
            for row in site.all("delivery")
            if row["payload"]["order"]["order_number"] == f"F{number}"
        ]
        assert heard[0] == "IP"
        assert heard.count("CM") == ("complete" in (one, two))
        assert heard.count("DC") <= 1
