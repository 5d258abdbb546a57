"""An order's timeline, told of what the real services have written down."""

import json
import re

import pytest
from sqlalchemy import text, update
from typer.testing import CliRunner

from mwl import audit, closing, procedures, story
from mwl.audit import Action, Actor, Event
from mwl.cli import app
from mwl.cli.story import as_json
from mwl.config import Close
from mwl.db.tables import Device
from mwl.outbox import Park
from mwl.story import Kind
from mwl.worklist import manual
from mwl.worklist.manual import Which
from tests.builders import adt_a08, adt_a40, omi, orm
from tests.closing_rows import device
from tests.hl7_mapping import BERLIN
from tests.plans import plan_of
from tests.scene import STUDY, TOLD, Scene, worked_off


@pytest.fixture
def scene(database, tmp_path):
    return Scene(database, tmp_path)


def told(scene, order=None):
    with scene.database.read() as session:
        found = story.tell(session, order or scene.order, scene.close, now=scene.now, zone=BERLIN)
    assert found is not None
    return found


def texts(scene, kind=None):
    return [each.text for each in told(scene).entries if kind in (None, each.kind)]


def one(scene, kind, number=-1):
    return [each for each in told(scene).entries if each.kind is kind][number]


def ahead(scene):
    outlook = told(scene).outlook
    return " ".join([outlook.text, *outlook.points])


# ---- the timeline


def test_a_story_goes_from_the_first_message_to_the_last_answer(database, tmp_path):
    scene = worked_off(database, tmp_path)
    found = told(scene)
    assert [(str(each.kind), each.text, str(each.state)) for each in found.entries] == [
        ("HL7 in", "ORM^O01 from RIS^HOSPITAL: new order; new patient", "AA"),
        ("Worklist", "CT1 was shown step SPS1", "outdated"),
        (
            "HL7 in",
            "ORM^O01 from RIS^HOSPITAL: changed start of step SPS1; changed name of patient",
            "AA",
        ),
        ("Worklist", "CT2 was shown step SPS1", ""),
        ("MPPS", "CT1 began step SPS1", "IN PROGRESS"),
        ("HL7 out", "ris was told: IP (in progress), 6 minutes later", "done"),
        ("Images", "5 images in 2 series from CT1, the last at 2030-01-02 09:07:05", ""),
        ("Commitment", "CT1 asks us to keep 5 images", ""),
        ("Commitment", "CT1 was told that 5 of 5 images are kept", "committed"),
        ("MPPS", "CT1 ended its work; it lists 5 images in 2 series", "COMPLETED"),
        ("Order", "closed: every image that its scanner had listed was here", "CLOSED"),
        ("HL7 out", "ris was told: CM (completed)", "done"),
        ("HL7 out", "ris was told: CLOSED (closed)", "done"),
    ]
    times = [each.at for each in found.entries]
    assert times == sorted(times)
    assert found.subject.order["status"] == "CLOSED"
    assert found.outlook.text == (
        "Closed on 2030-01-02 09:10: every image that its scanner had listed was here."
    )


def test_each_entry_names_what_it_is_told_from(database, tmp_path):
    scene = worked_off(database, tmp_path)
    about = [each.about.partition(":")[0] for each in told(scene).entries if each.about]
    assert about == [
        *("message", "message", "mpps", "delivery", "study", "commitments", "commitments"),
        *("mpps", "delivery", "delivery"),
    ]
    (images,) = [each for each in told(scene).entries if each.kind is Kind.IMAGES]
    assert len(images.pictures) == 2
    assert ("series 2 CT Head coronal", "2 images") in images.facts


def test_a_change_is_told_with_what_was_there_before(scene):
    scene.hear(orm())
    scene.hear(orm(ORC_1="XO", ORC_7="^^^20300102101500^^R"))
    facts = one(scene, Kind.MESSAGE).facts
    assert facts[0] == ("step SPS1, start", "2030-01-02 09:30:00 → 2030-01-02 10:15:00")


def test_a_scanner_that_has_an_old_name_is_pointed_out(scene):
    scene.hear(orm())
    scene.show()
    assert one(scene, Kind.SHOWN).notes == []
    scene.hear(adt_a08(PID_5="Doe^Janet^Q"))
    assert one(scene, Kind.SHOWN).notes == [
        "it was told another name than is on file: Doe^Jane^Q, now Doe^Janet^Q"
    ]
    assert "ADT^A08 from RIS^HOSPITAL: changed name of patient" in texts(scene)
    scene.show()
    assert one(scene, Kind.SHOWN).notes == []
    assert "CT1 was shown step SPS1 for the first time" in texts(scene)
    assert "CT1 was last shown step SPS1 (2 times in all)" in texts(scene)


def test_a_message_that_was_refused_stands_where_it_is_missed(scene):
    scene.hear(orm())
    assert b"|AE|" in scene.hear(orm(ORC_1="XO", PID_3="PID9^^^ADT1^MR", PID_5="Roe^Rita"))
    refused = one(scene, Kind.MESSAGE)
    assert (refused.state, refused.text) == ("AE", "ORM^O01 from RIS^HOSPITAL: not applied")
    assert "this order belongs to another patient" in refused.notes[0]


def test_a_message_about_several_orders_is_told_of_each(scene):
    second = ["ORC|NW||FO2^RIS", "OBR|||FO2^RIS|X^y^L" + "|" * 14 + "ACC2|RP2|S2||||MR"]
    scene.hear(orm(after=second))
    with scene.database.read() as session:
        rows = [story.by_accession(session, number) for number in ("ACC1", "ACC2")]
    assert [len(each) for each in rows] == [1, 1]
    for (order,) in rows:
        (entry,) = told(scene, order).entries
        assert entry.text.startswith("ORM^O01 from RIS^HOSPITAL: new order")


def test_a_merge_is_told_and_leaves_a_trail(scene):
    scene.hear(adt_a08(PID_3="PID2^^^ADT1^MR", PID_5="Doe^J", PID_7=""))
    scene.hear(orm())
    scene.hear(adt_a40())
    found = told(scene)
    assert [each["patient_id"] for each in found.subject.aliases] == ["PID2"]
    assert "ADT^A40 from RIS^HOSPITAL: patient PID2 merged into this one" in texts(scene)


def test_what_people_did_is_told_but_not_who_looked(scene):
    scene.hear(orm())
    scene.later()

    order = scene.order
    scene.database.write(
        lambda s: [
            audit.record(s, Actor("anna"), Event(action, f"order:{order}"), now=scene.now)
            for action in (Action.VIEW, Action.ARRIVE)
        ]
    )
    assert texts(scene, Kind.PERSON) == ["anna noted that the patient has arrived"]


def test_what_waits_and_what_is_refused_of_the_messages_out_is_told(scene):
    scene.hear(orm())
    scene.begin()
    waits = one(scene, Kind.DELIVERY)
    assert (waits.text, str(waits.state)) == ("ris is to be told: IP (in progress)", "waiting")
    scene.tell(Park("AR: unknown order", b"MSH|x\rMSA|AR\x1b[2J|1\r"))
    parked = one(scene, Kind.DELIVERY)
    assert (str(parked.state), parked.notes) == ("parked", ["AR: unknown order"])
    assert ("answer", "MSH|x\nMSA|AR[2J|1") in parked.facts


def test_an_entry_made_by_hand_begins_with_that(scene):
    entry = manual.Entry("P1", patient_name="Doe^Jane", modality="CT", accession_number="A1")
    scene.database.write(lambda s: manual.add(s, entry, now=scene.now, zone=BERLIN))
    assert texts(scene) == ["put on the worklist by hand"]
    scene.later()
    which, effects = Which("A1"), scene.effects
    scene.database.write(lambda s: procedures.cancel(s, which, effects=effects, now=scene.now))
    last = told(scene).entries[-1]
    assert (str(last.kind), last.state) == ("Order", "CANCELED")
    assert ahead(scene) == "Nothing is waited for: the order is cancelled."


def test_an_order_that_is_not_there_has_no_story(scene):
    with scene.database.read() as session:
        assert story.tell(session, 4711, Close(), now=scene.now, zone=BERLIN) is None
        assert story.report(session, 4711, 1) is None
        assert story.patient(session, 4711) is None
        assert story.by_step(session, 4711) is None


def test_a_report_is_read_of_its_own_order_alone(scene):
    scene.hear(orm())
    scene.begin()
    with scene.database.read() as session:
        found = story.report(session, scene.order, 1)
        assert found is not None
        assert (found.operation, found.ae_title) == ("N-CREATE", "CT1")
        assert b"IN PROGRESS" in found.data_set
        assert story.report(session, scene.order + 1, 1) is None


# ---- what comes next


def test_a_new_order_waits_for_its_scanner_until_it_expires(scene):
    scene.hear(orm())
    assert ahead(scene) == (
        "Waits for a scanner to begin. step SPS1: waits for its scanner to begin (MPPS) "
        "expires on 2030-02-01 09:30, unless it has begun by then"
    )
    scene.clock(days=31)
    assert told(scene).outlook.text.startswith("Expired on 2030-02-02 09:01: no scanner began it")
    assert texts(scene, Kind.ORDER) == [
        "expired: it was never begun; scanners are not shown it any more"
    ]


def test_an_order_on_hold_says_so(scene):
    scene.hear(orm())
    scene.hear(orm(ORC_1="HD", ORC_5="HD"))
    assert ahead(scene).startswith("On hold: it waits for its sender to release it. step SPS1: on")


def test_an_order_under_way_waits_for_its_end(scene):
    scene.hear(orm())
    scene.begin()
    assert ahead(scene) == (
        "Under way: it is completed when all its steps have ended. "
        "step SPS1: begun: waits for its scanner to say that it has ended (MPPS)"
    )


def test_what_is_left_of_an_order_expires_and_no_scanner_is_waited_for(scene):
    steps = [f"IPC|ACC1|RP1|{STUDY}|SPS{n}|CT|P{n}^Part^99RIS" for n in (1, 2)]
    scene.hear(omi(IPC=steps))
    scene.begin()
    scene.scan(1)
    scene.end()
    assert ahead(scene) == (
        "Under way: it is completed when all its steps have ended. "
        "step SPS1: the one image that its MPPS listed is here "
        "step SPS2: waits for its scanner to begin (MPPS) "
        "what is left expires on 2030-02-01 09:30, unless it has begun by then"
    )
    scene.clock(days=31)
    assert ahead(scene) == (
        "Partly done; what was left of it expired on 2030-02-02 09:04: no scanner began it within "
        "30 days of its date. A message about it, or reopening it, brings it back. "
        "step SPS1: the one image that its MPPS listed is here "
        "step SPS2: expired: no scanner is shown it"
    )
    assert texts(scene, Kind.ORDER)[-1].startswith("expired: what is left of it was never begun")
    scene.hear(omi(ORC_1="XO", IPC=steps))
    scene.clock(days=31)
    assert "within 30 days of being brought back" in ahead(scene)


def test_what_the_ris_completed_waits_for_the_scanner_that_is_still_at_it(scene):
    scene.hear(orm())
    scene.begin()
    scene.hear(orm(ORC_1="SC", ORC_5="CM"))
    assert "step SPS1: completed, but an MPPS of it is still in progress" in ahead(scene)


def test_missing_images_are_named_by_series_until_a_person_is_asked(scene):
    scene.hear(orm())
    scene.begin()
    scene.scan(2)
    scene.end(but=3)
    found = told(scene).outlook
    assert (found.text, found.asks) == ("Completed; it closes when its images are here.", False)
    assert found.points[0] == (
        "step SPS1: 2 of 5 listed images are here; "
        "3 images of series 1.2.826.0.1.3680043.8.498.1.9 not received"
    )
    assert found.points[1].startswith("waited for since 2030-01-02 ")
    scene.clock(hours=scene.close.ask_h + 1)
    found = told(scene).outlook
    assert (found.text, found.asks) == ("Completed, not closed: a person is asked.", True)
    assert "images that the scanner listed have not come: ask there" in found.points


@pytest.mark.parametrize(
    ("trouble", "told_of_it"),
    [
        ("UPDATE study SET requested_procedure = NULL", "2 images in a study that is not linked"),
        ("UPDATE stored_object SET state = 'quarantined'", "2 images in quarantine as the scanner"),
    ],
)
def test_images_that_have_come_and_are_not_the_orders_are_not_missed(scene, trouble, told_of_it):
    scene.hear(orm())
    scene.begin()
    scene.scan(2)
    scene.database.write(lambda s: s.connection().execute(text(trouble)))
    scene.end()
    assert told(scene).outlook.text == (
        "Completed; its images have come: it closes when they are this order's, and shown."
    )
    assert f"step SPS1: 2 of 2 listed images are here; {told_of_it}" in ahead(scene)


def test_an_mpps_without_images_is_for_a_person_to_close(scene):
    scene.hear(orm())
    scene.begin()
    scene.end()
    found = told(scene).outlook
    assert found.text == "Completed; it does not close by itself: a person closes it."
    assert found.points == [
        "step SPS1: its MPPS listed no images, so nothing tells when all are here"
    ]
    scene.later()
    order = scene.order
    scene.database.write(lambda s: closing.close(s, order, scene.now, TOLD))
    assert ahead(scene).endswith("a person closed it.")


def test_images_of_a_scanner_without_mpps_are_waited_for_to_be_quiet(database, tmp_path):
    scene = Scene(database, tmp_path)
    scene.database.write(lambda s: device(s, "CT9", mpps=False, now=scene.now))
    scene.hear(orm())
    assert "it ends when its images have been quiet for 120 minutes" in ahead(scene)
    scene.scan(1, source="CT9")
    assert ahead(scene).startswith("Its images come in: ")
    assert "it ends at 2030-01-02 11:02, if no further image comes" in ahead(scene)
    scene.clock(minutes=121)
    assert ahead(scene).endswith(
        "its images had been quiet for 120 minutes, and no MPPS comes from its scanner."
    )


def test_who_sends_neither_mpps_nor_images_is_not_waited_for(scene):
    silent = update(Device).values(mpps=False, close_images="elsewhere")
    scene.database.write(lambda s: s.connection().execute(silent))
    scene.hear(orm())
    assert "step SPS1: its scanner sends no MPPS, and its images elsewhere: it ends" in ahead(scene)
    scene.hear(orm(ORC_1="SC", ORC_5="CM"))
    assert told(scene).outlook.text == "Closes within seconds."
    scene.clock()
    assert ahead(scene).endswith("it was completed, and images of it go to another archive.")


def test_a_cancellation_of_what_never_came_is_told_as_such(scene):
    scene.hear(orm(ORC_1="CA", ORC_5="CA"))
    assert told(scene).outlook.text.startswith("This order was ended before it came")


# ---- the patient, and the terminal


def test_a_patient_is_told_with_orders_and_studies(database, tmp_path):
    scene = worked_off(database, tmp_path)
    scene.hear(adt_a40())
    with database.read() as session:
        found = story.patient(session, told(scene).subject.patient["id"])
        assert found is not None
        (alias,) = found.aliases
        merged = story.patient(session, alias["id"])
    assert [(row.accession_number, row.status) for row in found.orders] == [("ACC1", "CLOSED")]
    assert [row.accession_number for row in found.studies] == ["ACC1"]
    assert merged is not None
    assert merged.survivor is not None
    assert merged.survivor["patient_id"] == "PID1"


def test_nothing_is_searched_from_end_to_end(sqlite_database, tmp_path):
    scene = worked_off(sqlite_database, tmp_path)

    def ask(session):
        story.tell(session, scene.order, scene.close, now=scene.now, zone=BERLIN)
        story.patient(session, 1)

    plan = plan_of(sqlite_database, ask).splitlines()
    assert len(plan) > 30
    assert [line for line in plan if "SCAN" in line and "INDEX" not in line] == []


@pytest.fixture
def terminal(sqlite_database, sqlite_url, tmp_path, monkeypatch):
    scene = worked_off(sqlite_database, tmp_path)
    config = tmp_path / "site.toml"
    config.write_text(f'[database]\nurl = "{sqlite_url}"\n[site]\nzone = "Europe/Berlin"\n')
    monkeypatch.setenv("MWL_CONFIG", str(config))

    def call(*arguments, code=0):
        done = CliRunner().invoke(app, ["story", *arguments])
        assert done.exit_code == code, done.output
        return done.output

    call.scene = scene
    return call


def test_the_terminal_tells_the_same_story(terminal):
    text = terminal("ACC1")
    assert "ACC1  CLOSED" in text
    assert "Closed on 2030-01-02 09:10: every image that its scanner had listed was here." in text
    assert "2030-01-02 09:05:00  MPPS        CT1 began step SPS1  [IN PROGRESS]" in text
    assert "! it was told another name than is on file" in text
    assert "step SPS1, start: 2030-01-02 09:30:00 → 2030-01-02 10:15:00" in text
    assert "Study Instance UID" not in terminal("ACC1", "--brief")
    assert terminal("--order", str(terminal.scene.order)) == text


def test_programs_read_the_story_as_json(terminal):
    read = json.loads(terminal("ACC1", "--json"))
    assert read["status"] == "CLOSED"
    assert [each["kind"] for each in read["entries"]][:2] == ["HL7 in", "Worklist"]
    assert read == json.loads(json.dumps(as_json(told(terminal.scene))))


def test_an_accession_number_that_nobody_has_is_said_to_be_so(terminal):
    assert "the accession number ACC9, and no message" in terminal("ACC9", code=1)
    terminal.scene.hear(orm(MSH_10="BAD", OBR_18="ACC8", PID_7="yesterday"))
    said = terminal("ACC8", code=1)
    assert re.search(r"but message \d+ names it, rejected: PID-7: no date", said), said
    terminal(code=2)


def test_what_is_done_in_the_terminal_is_recorded_with_the_order(
    sqlite_database, sqlite_url, tmp_path, monkeypatch
):
    config = tmp_path / "site.toml"
    config.write_text(f'[database]\nurl = "{sqlite_url}"\n')
    monkeypatch.setenv("MWL_CONFIG", str(config))
    monkeypatch.setenv("LOGNAME", "anna")

    def mwl(*arguments):
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == 0, done.output
        return done.output

    who = ("--patient-id", "4712", "--name", "Doe^Jane", "--modality", "MR")
    mwl("worklist", "add", *who, "--accession", "A1")
    mwl("worklist", "change", "--accession", "A1", "--new-accession", "A2")
    mwl("worklist", "arrive", "--accession", "A2")
    mwl("worklist", "cancel", "--accession", "A2")
    mwl("worklist", "reopen", "--accession", "A2")
    lines = [line for line in mwl("story", "A2", "--brief").splitlines() if "  Person  " in line]
    assert [line.partition("anna ")[2] for line in lines] == [
        "put it on the worklist",
        "changed it",
        "noted that the patient has arrived",
        "cancelled it",
        "reopened it",
    ]


def test_what_a_person_changed_is_told_where_it_was_recorded(scene):
    scene.hear(orm())
    order = scene.order
    detail = {
        "step": "SPS1",
        "was": {"modality": "CT", "stations": ["CT1", "CT2"]},
        "modality": "MR",
        "stations": ["MR1"],
    }
    event = Event(Action.CHANGE, f"order:{order}", detail)
    scene.database.write(lambda s: audit.record(s, Actor("anna"), event, now=scene.now))
    assert set(one(scene, Kind.PERSON).facts) == {
        ("step", "SPS1"),
        ("modality", "CT → MR"),
        ("stations", "CT1, CT2 → MR1"),
    }
