"""Work that is not one MPPS for one step: split, added to, grouped over orders, appended."""

import pytest
from sqlmodel import SQLModel, select

from mwl import procedures, story
from mwl.performed import Created, Listed, Modified, PerformedState, Request
from mwl.story import Kind
from tests.builders import omi, orm
from tests.hl7_mapping import BERLIN
from tests.scene import IMPLICIT, STUDY, Scene

COMPLETED, DISCONTINUED = PerformedState.COMPLETED, PerformedState.DISCONTINUED


class Site(Scene):
    """A scene of several steps and orders, by their SPS IDs."""

    def start(self, uid, *requests):
        made = Created(uid, "CT1", IMPLICIT, b"", requests, patient_id="PID1", modality="CT")
        self._do(procedures.start, made)

    def finish(self, uid, state=COMPLETED, listed=()):
        found = tuple(Listed("1.2.840.10008.5.1.4.1.1.2", each) for each in listed)
        self._do(procedures.update, Modified(uid, "CT1", IMPLICIT, b"", state, listed=found))

    def _do(self, work, what):
        self.later()
        self.database.write(lambda s: work(s, what, effects=self.effects, now=self.now))

    def column(self, table, *columns):
        it = SQLModel.metadata.tables[table]
        with self.database.read() as session:
            wanted = select(*(it.c[name] for name in columns)).order_by(*it.primary_key)
            return [tuple(row) for row in session.connection().execute(wanted)]

    @property
    def steps(self):
        return dict(self.column("scheduled_step", "sps_id", "state"))

    @property
    def states(self):
        return [state for (state,) in self.column("imaging_order", "status")]

    @property
    def news(self):
        rows = self.column("delivery", "subject", "payload")
        return [(subject, payload["event"]) for subject, payload in rows]

    def told(self, order):
        with self.database.read() as session:
            return story.tell(session, order, self.close, now=self.now, zone=BERLIN)


@pytest.fixture
def site(database, tmp_path):
    return Site(database, tmp_path)


@pytest.fixture
def quick(sqlite_database, tmp_path):
    return Site(sqlite_database, tmp_path)


def step(number=1, study=STUDY, accession=""):
    return Request(study, f"SPS{number}", accession)


def of_procedure(*steps, **fields):
    """An OMI that states all steps of one procedure."""
    ipc = [f"IPC|ACC1|RP1|{STUDY}|SPS{number}|CT|P{number}^Part {number}^99RIS" for number in steps]
    return omi(IPC=ipc, **fields)


# ---- steps


def test_a_step_that_is_done_as_two_mpps_is_done_when_both_are(quick):
    quick.hear(orm())
    quick.start("1.2.1", step())
    quick.start("1.2.2", step())
    quick.finish("1.2.1")
    assert (quick.steps, quick.states) == ({"SPS1": "STARTED"}, ["IN_PROGRESS"])
    quick.finish("1.2.2", DISCONTINUED)
    assert (quick.steps, quick.states) == ({"SPS1": "COMPLETED"}, ["COMPLETED"])
    assert [event for _, event in quick.news] == ["IP", "CM"]


def test_a_step_that_is_added_while_another_is_under_way_is_to_be_done_as_well(site):
    site.hear(of_procedure(1))
    site.start("1.2.1", step(1))
    site.hear(of_procedure(1, 2, ORC_1="XO"))
    assert site.steps == {"SPS1": "STARTED", "SPS2": "SCHEDULED"}
    site.finish("1.2.1")
    assert site.states == ["IN_PROGRESS"]
    site.start("1.2.2", step(2))
    site.finish("1.2.2")
    assert site.states == ["COMPLETED"]
    assert [event for _, event in site.news] == ["IP", "CM"]


def test_a_step_that_is_split_before_it_has_begun_is_done_in_its_parts(quick):
    quick.hear(of_procedure(1))
    quick.hear(of_procedure(2, 3, ORC_1="XO"))
    assert quick.steps == {"SPS1": "CANCELED", "SPS2": "SCHEDULED", "SPS3": "SCHEDULED"}
    quick.start("1.2.1", step(2), step(3))
    quick.finish("1.2.1")
    assert quick.states == ["COMPLETED"]


def test_a_step_that_is_split_after_it_has_begun_goes_on_beside_its_parts(quick):
    quick.hear(of_procedure(1))
    quick.start("1.2.1", step(1))
    quick.hear(of_procedure(2, 3, ORC_1="XO"))
    assert quick.steps == {"SPS1": "STARTED", "SPS2": "SCHEDULED", "SPS3": "SCHEDULED"}
    quick.finish("1.2.1")
    assert quick.states == ["IN_PROGRESS"]
    # The RIS sees that the whole was scanned, and takes the parts back.
    quick.hear(of_procedure(1, ORC_1="XO"))
    assert quick.steps == {"SPS1": "COMPLETED", "SPS2": "CANCELED", "SPS3": "CANCELED"}
    assert (quick.states, [event for _, event in quick.news]) == (["COMPLETED"], ["IP", "CM"])


def test_a_step_that_is_added_to_what_is_done_opens_it_and_its_end_is_told(quick):
    quick.hear(orm())
    quick.start("1.2.1", step(1))
    quick.finish("1.2.1")
    quick.hear(orm(ORC_1="XO", OBR_20="SPS2"))
    assert (quick.steps["SPS2"], quick.states) == ("SCHEDULED", ["IN_PROGRESS"])
    quick.start("1.2.2", step(2))
    quick.finish("1.2.2")
    assert quick.states == ["COMPLETED"]
    assert [event for _, event in quick.news] == ["IP", "CM", "CM"]


# ---- group case


def two_orders(site):
    site.hear(orm())
    numbers = {"ORC_2": "PO2^RIS", "ORC_3": "FO2^RIS", "OBR_2": "PO2^RIS", "OBR_3": "FO2^RIS"}
    names = {"OBR_18": "ACC2", "OBR_19": "RP2", "OBR_20": "SPS2", "ZDS_1": f"{STUDY}2"}
    site.hear(orm(**numbers, **names))
    return [f"order:{row}" for (row,) in site.column("imaging_order", "id")]


GROUPS = {
    "by their steps": (step(1), step(2, f"{STUDY}2")),
    "into the study of one": (step(1), Request(STUDY, "", "ACC2")),
    "by their accession numbers": (Request("1.2.7", "", "ACC1"), Request("1.2.7", "", "ACC2")),
}


@pytest.mark.parametrize("requests", GROUPS.values(), ids=list(GROUPS))
def test_one_mpps_moves_every_order_that_it_is_done_for_and_each_is_told(site, requests):
    one, two = two_orders(site)
    site.start("1.2.1", *requests)
    assert site.states == ["IN_PROGRESS", "IN_PROGRESS"]
    site.finish("1.2.1")
    assert site.states == ["COMPLETED", "COMPLETED"]
    assert site.news == [(one, "IP"), (two, "IP"), (one, "CM"), (two, "CM")]
    assert site.column("performed_step", "unscheduled") == [(False,)]


def test_a_group_that_is_given_up_is_told_of_each_order(quick):
    one, two = two_orders(quick)
    quick.start("1.2.1", *GROUPS["by their steps"])
    quick.finish("1.2.1", DISCONTINUED)
    assert quick.states == ["DISCONTINUED", "DISCONTINUED"]
    assert quick.news == [(one, "IP"), (two, "IP"), (one, "DC"), (two, "DC")]


def test_a_group_is_in_the_story_of_each_of_its_orders(quick):
    two_orders(quick)
    quick.start("1.2.1", *GROUPS["by their steps"])
    for order, name in zip((1, 2), ("SPS1", "SPS2"), strict=True):
        told = [e.text for e in quick.told(order).entries if e.kind is Kind.PERFORMED]
        assert told == [f"CT1 began step {name}"]


def test_an_order_that_joins_a_group_later_is_moved_when_it_comes(quick):
    quick.hear(orm())
    quick.start("1.2.1", *GROUPS["by their steps"])
    quick.finish("1.2.1")
    assert quick.states == ["COMPLETED"]
    one, two = two_orders(quick)
    procedures.link_unscheduled(quick.database, quick.now, effects=quick.effects)
    assert quick.states == ["COMPLETED", "COMPLETED"]
    assert quick.news == [(one, "IP"), (one, "CM"), (two, "IP"), (two, "CM")]


# ---- append case


@pytest.mark.parametrize("state", ["COMPLETED", "DISCONTINUED"])
def test_what_is_appended_to_a_closed_order_is_added_to_its_story(site, state):
    site.hear(orm())
    site.begin()
    site.scan(2)
    site.end()
    assert (site.states, site.steps) == (["CLOSED"], {"SPS1": "COMPLETED"})
    before = site.news
    site.begin("1.2.9.2")
    assert (site.states, site.steps) == (["CLOSED"], {"SPS1": "COMPLETED"})
    site.scan(1, series=7, SeriesDescription="Appended")
    site.end("1.2.9.2", state)
    assert (site.states, site.news) == (["CLOSED"], before)
    told = site.told(site.order)
    assert [e.state for e in told.entries if e.kind is Kind.PERFORMED] == [
        *("IN PROGRESS", "COMPLETED", "IN PROGRESS", state),
    ]
    first, appended = (e for e in told.entries if e.kind is Kind.IMAGES)
    assert first.text == "2 images in 1 series from CT1"
    assert appended.text == "1 image in 1 series from CT1, after the order had closed"
    assert first.at < told.subject.order["closed_at"] < appended.at
    assert "begun by a scanner after it was COMPLETED" in told.subject.order["flags"]
    assert told.outlook.text.startswith("Closed on ")


def test_an_order_waits_for_what_is_appended_before_it_closes(quick):
    quick.hear(orm())
    quick.begin()
    quick.end(but=1)
    quick.begin("1.2.9.2")
    assert quick.states == ["COMPLETED"]
    assert quick.told(quick.order).outlook.points == [
        "step SPS1: completed, but another MPPS of it is still in progress",
        *quick.told(quick.order).outlook.points[1:],
    ]
    quick.finish("1.2.9.2", DISCONTINUED)
    quick.clock(seconds=5)
    assert quick.states == ["COMPLETED"]
    assert "0 of 1 listed images are here" in quick.told(quick.order).outlook.points[0]
