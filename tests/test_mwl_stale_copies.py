"""A scanner's list is old when what it was told changes: who works by it is warned of, not refused.

What it then tells with its MPPS and images is matched all the same, and flagged.
"""

import json

import pytest
from sqlmodel import SQLModel, select

from mwl import audit, sightings, story
from mwl.audit import Action, Actor, Event
from mwl.cli import app
from mwl.procedures.matching import FORMER_NAME, OTHER_ACCESSION
from mwl.worklist import manual
from mwl.worklist.listing import listing
from tests.builders import adt_a08, adt_a40, orm
from tests.hl7_mapping import BERLIN
from tests.scene import STUDY, Scene

EXPECT = ": expect the old in its MPPS and images, unless it asks again"


def shown_at_nine(database, folder):
    """Make an order that CT1 was shown at 9:02 in Berlin."""
    made = Scene(database, folder)
    made.hear(orm())
    made.show("CT1")
    return made


@pytest.fixture
def scene(sqlite_database, tmp_path):
    return shown_at_nine(sqlite_database, tmp_path)


@pytest.fixture
def either(database, tmp_path):
    return shown_at_nine(database, tmp_path)


def told(scene):
    with scene.database.read() as session:
        return story.tell(session, scene.order, scene.close, now=scene.now, zone=BERLIN)


def rows(scene, table):
    it = SQLModel.metadata.tables[table]
    with scene.database.read() as session:
        return [dict(row) for row in session.connection().execute(select(it)).mappings()]


def flags(scene):
    return rows(scene, "imaging_order")[0]["flags"]


@pytest.mark.parametrize(
    ("message", "told_then", "what"),
    [
        (lambda: adt_a08(PID_5="Doe^Janet^Q"), "name Doe^Jane^Q", "name"),
        (lambda: adt_a08(PID_7="19800301"), "birth date 1980-02-29", "birth date"),
        (lambda: orm(ORC_1="XO", OBR_18="ACC2"), "accession number ACC1", "accession number"),
        (lambda: orm(ORC_1="XO", OBR_24="MR"), "modality CT", "modality"),
        (lambda: orm(ORC_1="XO", OBR_4="CTHEAD^CT skull^99RIS"), "procedure CT head", "procedure"),
        (
            lambda: orm(ORC_1="XO", ORC_7="^^^20300102101500^^R"),
            "start 2030-01-02 09:30",
            "start",
        ),
        (
            lambda: orm(ORC_1="XO", PID_5="Doe^Janet^Q", OBR_18="ACC2"),
            "name Doe^Jane^Q, accession number ACC1",
            "name and accession number",
        ),
    ],
)
def test_whoever_was_shown_what_has_changed_is_named_with_both_times(
    scene, message, told_then, what
):
    assert told(scene).warnings == []
    scene.later(minutes=6)
    scene.hear(message())
    assert told(scene).warnings == [
        (
            f"CT1 was shown {told_then} at 2030-01-02 09:02; "
            f"since then the {what} changed at 09:09{EXPECT}"
        )
    ]


def test_a_merge_makes_a_copy_old_too(scene):
    scene.later(days=1)
    scene.hear(adt_a40(PID_3="PID7^^^ADT1^MR", PID_5="Doe^Jane^Q", MRG_1="PID1^^^ADT1^MR"))
    assert told(scene).warnings == [
        (
            "CT1 was shown patient ID PID1 at 2030-01-02 09:02; "
            f"since then the patient ID changed on 2030-01-03 at 09:03{EXPECT}"
        )
    ]


def test_what_a_person_changed_is_told_with_its_time_as_well(either):
    def changed(now, **detail):
        event = Event(Action.CHANGE, f"order:{either.order}", {"step": "SPS1", **detail})
        who = Actor("ann", "session")
        either.database.write(lambda s: audit.record(s, who, event, now=now))

    either.later(minutes=6)
    entry = manual.Entry(patient_name="Doe^Janet^Q", modality="MR")
    which = manual.Which(sps_id="SPS1")
    either.database.write(lambda s: manual.change(s, which, entry, now=either.now, zone=BERLIN))
    changed(either.now, start="2030-01-02T10:00")
    assert "the name and modality changed: expect" in told(either).warnings[0]
    either.later()
    changed(either.now, patient_name="Doe^Janet^Q", was={"patient_name": "Doe^Jane^Q"})
    either.hear(adt_a08(PID_5="Doe^Janet^Q"))
    assert "the name and modality changed at 09:09: expect" in told(either).warnings[0]


def test_who_asks_again_is_warned_of_no_more_and_others_are(scene):
    scene.show("CT2")
    scene.hear(adt_a08(PID_5="Doe^Janet^Q"))
    assert [each[:13] for each in told(scene).warnings] == ["CT2 was shown", "CT1 was shown"]
    scene.show("CT2")
    assert [each[:13] for each in told(scene).warnings] == ["CT1 was shown"]


def test_what_is_over_is_warned_of_no_more(scene):
    scene.hear(adt_a08(PID_5="Doe^Janet^Q"))
    scene.begin()
    assert told(scene).warnings
    scene.scan(1)
    scene.end()
    assert told(scene).warnings == []
    with scene.database.read() as session:
        assert sightings.outdated(session, [scene.step]) == {}


def test_a_list_of_entries_tells_which_copies_are_old(either):
    with either.database.read() as session:
        assert sightings.outdated(session, [either.step, 99]) == {}
    either.hear(adt_a08(PID_5="Doe^Janet^Q"))
    with either.database.read() as session:
        (seen,) = sightings.outdated(session, [either.step, 99])[either.step]
    assert seen.warning(BERLIN) == (
        f"CT1 was shown name Doe^Jane^Q at 2030-01-02 09:02; since then the name changed{EXPECT}"
    )


def test_an_mpps_by_an_old_copy_is_taken_and_flagged(either):
    either.hear(adt_a08(PID_5="Doe^Janet^Q"))
    either.hear(orm(ORC_1="XO", OBR_18="ACC2", PID_5="Doe^Janet^Q"))
    either.begin()
    assert rows(either, "scheduled_step")[0]["state"] == "STARTED"
    assert {FORMER_NAME, OTHER_ACCESSION} <= {*flags(either)}
    assert {FORMER_NAME, OTHER_ACCESSION} <= {*rows(either, "performed_step")[0]["flags"]}


def test_images_by_an_old_copy_are_linked_and_say_what_is_so_now(scene):
    scene.hear(adt_a08(PID_5="Doe^Janet^Q"))
    scene.begin()
    scene.scan(2, PatientName="Doe^Jane^Q", PatientID="PID1", AccessionNumber="ACC1")
    scene.end()
    (study,) = rows(scene, "study")
    assert (study["study_instance_uid"], study["patient_name"]) == (STUDY, "Doe^Janet^Q")
    assert rows(scene, "imaging_order")[0]["status"] == "CLOSED"


@pytest.mark.parametrize("name", ["DOE^JANE^Q", "Doe^Jane", "Dö^Jane"])
def test_a_scanners_way_of_writing_a_name_is_no_old_copy(scene, name):
    scene.begin(PatientName=name)
    assert FORMER_NAME not in flags(scene)


def test_programs_and_terminals_are_warned_as_well(sqlite_database, tmp_path, sqlite_url):
    from typer.testing import CliRunner

    scene = Scene(sqlite_database, tmp_path)
    scene.hear(orm())
    scene.show("CT1")
    scene.hear(adt_a08(PID_5="Doe^Janet^Q"))
    runner = CliRunner(env={"MWL_DATABASE__URL": sqlite_url, "MWL_DATA_DIR": str(tmp_path)})
    heard = runner.invoke(app, ["story", "ACC1"]).stdout
    assert "! CT1 was shown name Doe^Jane^Q at 2030-01-02 08:02" in heard
    (warning,) = json.loads(runner.invoke(app, ["story", "ACC1", "--json"]).stdout)["warnings"]
    assert "the name changed at 08:03" in warning


def test_the_list_marks_what_a_scanner_has_an_old_copy_of(either):
    (entry,) = listing(either.database, zone=BERLIN)
    assert entry["warnings"] == []
    either.hear(adt_a08(PID_5="Doe^Janet^Q"))
    (entry,) = listing(either.database, zone=BERLIN)
    assert entry["warnings"][0].startswith("CT1 was shown name Doe^Jane^Q at 2030-01-02 09:02")
