"""What a device would be shown: the same as a real C-FIND of it is answered, and what it is not."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from mwl import devices
from mwl.config import DeviceTable, Settings, Site
from mwl.config.tables import Dicom
from mwl.db import Database
from mwl.db.tables import Device, Sighting
from mwl.errors import Reason, Rejected
from mwl.scp.trying import see
from mwl.scp.worklist import WorklistService
from mwl.worklist.trying import Asked, Tried
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import asking
from tests.test_mwl_scp_worklist import Scanner
from tests.worklist_rows import NOW, insert_items, item

SETTINGS = Settings(data_dir=Path("unused"), site=Site(zone="Europe/Berlin"))
TODAY = "20300102"


def register(database: Database, title: str = "CT1", **more: Any) -> None:
    table = DeviceTable(**{"ae_title": title, "modality": "CT", **more})
    database.write(lambda session: devices.add(session, table, now=NOW))


def put(database: Database, *items: Any) -> list[int]:
    return database.write(lambda session: insert_items(session, items))


def tried(database: Database, title: str = "CT1", now: Any = NOW, **asked: Any) -> Tried:
    return see(database, SETTINGS, title, Asked(**asked), now)


def ids(told: Tried) -> list[str]:
    return [each.attributes["ScheduledProcedureStepID"] for each in told.answers]


ITEMS = [
    item(1, "CT1"),
    item(2, "CT2"),
    item(3),
    item(4, "CT1", step={"modality": "MR"}),
    item(5, "CT1", step={"state": "HELD"}),
    item(6, "CT1", step={"state": "COMPLETED"}),
    item(7, "CT1", step={"start_local": "20300103080000"}),
    item(8, "OLD", step={"location": "ROOM 8"}, patient={"patient_name": "Müller^Zoë"}),
]


def test_it_is_what_a_real_c_find_is_answered(sqlite_database, serve, dial) -> None:
    put(sqlite_database, *ITEMS)
    shown = {"locations": ["ROOM 1"], "stations": ["OLD"], "hours_back": 1}
    register(sqlite_database, aliases=["CT1_NEW"], zone="Asia/Tokyo", worklist=shown)
    register(sqlite_database, "CT2", characters={"sets": ["ISO_IR 6"]})
    server = serve(WorklistService(sqlite_database, SETTINGS.site.zone_info, clock=lambda: NOW))
    names = ("ScheduledProcedureStepID", "ScheduledProcedureStepStartTime")
    for title in ("CT1", "CT1_NEW", "CT2", "STRANGER"):
        keys = {
            "step_ScheduledStationAETitle": title,
            "step_ScheduledProcedureStepStartDate": TODAY,
        }
        if title != "STRANGER":
            keys["step_Modality"] = "CT"
        found = Scanner(server, dial, title).find(asking("PatientName", step=names, **keys))
        told = tried(sqlite_database, title)
        assert told.count == len(found) == len(told.answers) > 0
        for answer, ours in zip(found, told.answers, strict=True):
            step = answer.ScheduledProcedureStepSequence[0]
            assert {name: step[name].value for name in names} == {
                name: ours.attributes[name] for name in names
            }
            assert str(answer.PatientName) == ours.attributes["PatientName"]


def test_usual_keys_are_filled_in_and_others_are_asked_by(database: Database) -> None:
    put(database, *ITEMS)
    register(database, zone="Pacific/Auckland")
    told = tried(database, now=NOW + timedelta(hours=6))
    assert (told.asked.day, told.asked.modality, told.asked.station) == ("20300103", "CT", "CT1")
    assert ids(told) == ["SPS7"]  # there it is the next day already
    assert ids(tried(database, day="", station="", modality="")) == [
        *("SPS1", "SPS2", "SPS3", "SPS4", "SPS8", "SPS7"),
    ]
    any_ = {"day": "", "station": "", "modality": ""}
    assert ids(tried(database, patient_id="P2", **any_)) == ["SPS2"]
    assert ids(tried(database, patient_name="müll*", **any_)) == ["SPS8"]
    assert ids(tried(database, accession_number="ACC3", **any_)) == ["SPS3"]


def test_what_people_see_and_it_does_not_is_listed(database: Database) -> None:
    steps = put(database, *ITEMS)
    register(database)
    told = tried(database)
    assert ids(told) == ["SPS1", "SPS3"]
    assert [each.step for each in told.answers] == [steps[0], steps[2]]
    assert told.hidden is not None
    # For other stations, and held; what is over is nobody's concern any more.
    assert [each.sps_id for each in told.hidden] == ["SPS2", "SPS5", "SPS8"]
    assert not told.more_hidden
    assert tried(database, day="").hidden is None
    whole = tried(database, day="", patient_id="P2").hidden
    assert whole is not None
    assert [each.sps_id for each in whole] == ["SPS2"]


@pytest.mark.parametrize(
    ("beyond", "status", "comment", "is_cut"),
    [
        ("cut", 0x0000, "", True),
        ("refuse", 0xA700, "more than 2 match", False),
    ],
)
def test_a_list_that_is_too_long_says_so(
    sqlite_database: Database, beyond: str, status: int, comment: str, is_cut: bool
) -> None:
    put(sqlite_database, *(item(n, "CT1") for n in range(5)))
    register(sqlite_database, worklist={"max_answers": 2, "beyond": beyond})
    told = tried(sqlite_database)
    assert (told.count, told.more, len(told.answers)) == (2, 5, 2)
    assert (told.status, told.comment.partition(",")[0], told.is_cut) == (status, comment, is_cut)


def test_letters_that_it_does_not_read_are_told_with_what_they_stand_for(
    sqlite_database: Database,
) -> None:
    name = "Łukasiewicz^Żaneta"
    put(
        sqlite_database,
        item(1, "CT1", patient={"patient_name": name}),
        item(2, "CT1", patient={"patient_name": "Müller^Zoë"}),
        item(3, "CT1"),
    )
    register(sqlite_database, characters={"sets": ["ISO_IR 100"]})
    latin, said, ascii_ = tried(sqlite_database).answers
    assert latin.attributes["PatientName"] == "Lukasiewicz^Zaneta"
    assert latin.rewritten == {"PatientName": name}
    assert (said.attributes["PatientName"], said.rewritten) == ("Müller^Zoë", {})
    assert (latin.character_set, said.character_set) == ("ISO_IR 100", "ISO_IR 100")
    assert ascii_.rewritten == {}
    # A stranger is asked for: in UTF-8 it is told all of it.
    (whole, *_) = tried(sqlite_database, "CT1", character_set="ISO_IR 192").answers
    assert whole.character_set == "ISO_IR 100"  # what is set of it counts
    told = tried(sqlite_database, "MR1", station="CT1", character_set="ISO_IR 192").answers
    assert (told[0].attributes["PatientName"], told[0].character_set) == (name, "ISO_IR 192")
    assert told[0].rewritten == {}


def test_who_would_not_be_let_ask_is_told_so(sqlite_database: Database) -> None:
    put(sqlite_database, *ITEMS)
    register(sqlite_database, may=["store"])
    assert tried(sqlite_database).refused.startswith("the device may not ask for worklists. Allow")
    register(sqlite_database, "XA1", certificate="xa1.example")
    assert tried(sqlite_database, "XA1").refused == ""  # it is taken to show its certificate
    assert tried(sqlite_database, "MR1").refused == ""  # on this machine alone anybody may
    closed = SETTINGS.model_copy(update={"dicom": Dicom(admit="known")})
    told = see(sqlite_database, closed, "MR1", Asked(), NOW)
    assert told.refused.startswith("no device MR1 is registered")
    assert told.device is None


@pytest.mark.parametrize(
    ("title", "asked", "reason"),
    [
        ("", {}, Reason.MALFORMED),
        ("CT\\1", {}, Reason.MALFORMED),
        ("CT1", {"patient_name": "x" * 201}, Reason.TOO_LONG),
        ("CT1", {"patient_name": "山田", "character_set": "ISO_IR 100"}, Reason.MALFORMED),
        ("CT1", {"character_set": "ISO_IR 7"}, Reason.UNKNOWN_CODE),
    ],
)
def test_what_can_not_be_asked_is_refused(
    sqlite_database: Database, title: str, asked: dict[str, str], reason: Reason
) -> None:
    with pytest.raises(Rejected) as caught:
        tried(sqlite_database, title, **asked)
    assert caught.value.faults[0].reason is reason


@pytest.mark.parametrize("day", ["tomorrow", "20301345"])
def test_a_key_that_can_not_be_read_ends_as_for_a_scanner(
    sqlite_database: Database, day: str
) -> None:
    register(sqlite_database)
    told = tried(sqlite_database, day=day)
    assert (told.status, told.count, told.hidden) == (0xC001, 0, None)
    assert told.comment.startswith("ScheduledProcedureStepStartDate: ")


def test_nobody_is_told_that_it_was_shown_anything(
    sqlite_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    put(sqlite_database, *ITEMS)
    register(sqlite_database)
    tried(sqlite_database)
    lines = [line for line in capsys.readouterr().out.splitlines() if "worklist.find" in line]
    assert lines
    assert all("trial=True" in line for line in lines)
    with sqlite_database.read() as session:
        assert session.exec(select(Sighting)).all() == []
        assert session.exec(select(Device)).one().seen_at is None
