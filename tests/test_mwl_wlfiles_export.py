"""Folders of worklist files, kept for wlmscpfs and Orthanc's plugin."""

import fcntl
import os

import pydicom
import pytest

from mwl import devices
from mwl.config import DeviceTable
from mwl.errors import Outage, Rejected
from mwl.orders import Action, OrderChange, ProcedureChange, StepChange
from mwl.patients import Identifier, PatientChange
from mwl.scp.worklist import WorklistService
from mwl.wlfiles import disk, exporting, import_folder
from mwl.wlfiles.exporting import Exported, Target, export_folder
from mwl.worklist import apply, kept, manual
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.test_mwl_wlfiles import (
    NOW,
    QUERIES,
    ZONE,
    ask,
    bring,
    entry,
    save,
    serving_orthanc,
    serving_wlmscpfs,
)


@pytest.fixture
def filled(sqlite_database, tmp_path):
    """Give a worklist of four items, one of them beyond Latin-1."""
    given = tmp_path / "given"
    given.mkdir()
    save(entry(1), given / "1.wl")
    save(entry(2, step_ScheduledStationAETitle="CT2"), given / "2.wl")
    save(entry(3, step_ScheduledProcedureStepStartDate="20300103"), given / "3.wl")
    name = {"PatientName": "Иванов^Иван", "SpecificCharacterSet": "ISO_IR 192"}
    save(entry(4, step_Modality="MR", **name), given / "4.wl")
    assert bring(sqlite_database, given).problems == []
    return sqlite_database


def export(database, folder, **target):
    return export_folder(database, Target(folder, "MWL", **target), now=NOW, zone=ZONE)


def files(folder):
    return {file.name: file.read_bytes() for file in folder.glob("*.wl")}


def names(folder):
    return sorted(str(pydicom.dcmread(file).PatientName) for file in folder.glob("*.wl"))


def test_a_folder_follows_the_worklist(filled, tmp_path):
    place = tmp_path / "out" / "MWL"
    assert export(filled, tmp_path / "out") == Exported(written=4)
    assert (place / "lockfile").exists()
    assert len(files(place)) == 4
    before = {file: file.stat().st_ino for file in place.iterdir()}
    assert export(filled, tmp_path / "out") == Exported(unchanged=4)
    assert {file: file.stat().st_ino for file in place.iterdir()} == before
    filled.write(lambda session: manual.cancel(session, manual.Which("ACC1"), now=NOW))
    filled.write(
        lambda session: manual.change(
            session, manual.Which("ACC2"), manual.Entry(description="Knee"), now=NOW, zone=ZONE
        )
    )
    assert export(filled, tmp_path / "out") == Exported(written=1, unchanged=2, removed=1)
    assert len(files(place)) == 3


def test_nothing_is_made_in_vain(filled, tmp_path, monkeypatch):
    made = []
    write = exporting.FileWriter.write
    monkeypatch.setattr(
        exporting.FileWriter, "write", lambda self, row: made.append(row) or write(self, row)
    )
    exporter = exporting.Exporter(filled, Target(tmp_path, "MWL", "orthanc"), ZONE)
    assert exporter.run(NOW) == Exported(written=4)
    assert exporter.run(NOW) == Exported(unchanged=4)
    assert len(made) == 4
    next(tmp_path.glob("*.wl")).unlink()
    assert exporter.run(NOW) == Exported(written=1, unchanged=3)
    assert len(made) == 5
    which, named = manual.Which("ACC2"), manual.Entry(description="Knee")
    filled.write(lambda session: manual.change(session, which, named, now=NOW, zone=ZONE))
    assert exporter.run(NOW) == Exported(written=1, unchanged=3)


def test_after_a_failure_nothing_is_taken_for_known(filled, tmp_path, monkeypatch):
    exporter = exporting.Exporter(filled, Target(tmp_path, "MWL", "orthanc"), ZONE)
    exporter.run(NOW)
    before = files(tmp_path)
    which, named = manual.Which("ACC2"), manual.Entry(sex="M")
    filled.write(lambda session: manual.change(session, which, named, now=NOW, zone=ZONE))
    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync_names", lambda _: (_ for _ in ()).throw(OSError(5, "I/O")))
        with pytest.raises(Outage):
            exporter.run(NOW)
    back = manual.Entry(sex="F")
    filled.write(lambda session: manual.change(session, which, back, now=NOW, zone=ZONE))
    exporter.run(NOW)
    assert files(tmp_path) == before


def test_names_of_files_say_nothing_of_patients(filled, tmp_path):
    export(filled, tmp_path, format="orthanc")
    export(filled, tmp_path / "again", format="orthanc")
    assert files(tmp_path) == files(tmp_path / "again")
    for name in files(tmp_path):
        assert exporting._OURS.fullmatch(name)


def test_what_others_keep_in_the_folder_stays(filled, tmp_path):
    theirs = tmp_path / "theirs.wl", tmp_path / "mwl-notes.txt", tmp_path / "sub"
    theirs[0].write_bytes(b"x")
    theirs[1].write_bytes(b"x")
    theirs[2].mkdir()
    left = tmp_path / f".mwl-{'0' * 32}.wl.new"  # of a run that was ended
    old = tmp_path / f"mwl-{'0' * 32}.wl"
    left.write_bytes(b"half")
    old.write_bytes(b"not on the list")
    assert export(filled, tmp_path, format="orthanc") == Exported(written=4, removed=1)
    assert all(path.exists() for path in theirs)
    assert not left.exists()
    assert not old.exists()


def test_nobody_meets_half_a_file(filled, tmp_path, monkeypatch):
    export(filled, tmp_path, format="orthanc")
    before = files(tmp_path)
    filled.write(
        lambda session: manual.change(
            session, manual.Which("ACC2"), manual.Entry(description="Knee"), now=NOW, zone=ZONE
        )
    )

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Outage, match="No space left on device"):
        export(filled, tmp_path, format="orthanc")
    assert files(tmp_path) == before


def test_a_folder_that_cant_be_written_is_an_outage(filled, tmp_path):
    (tmp_path / "out").write_bytes(b"no folder")
    with pytest.raises(Outage, match="out"):
        export(filled, tmp_path / "out")


@pytest.mark.parametrize("title", ["..", ".", "A/B"])
def test_a_title_that_is_no_name_of_a_folder_is_refused(filled, tmp_path, title):
    with pytest.raises(Rejected, match="can't be the name of a folder"):
        export_folder(filled, Target(tmp_path / "out", title), now=NOW, zone=ZONE)
    assert not (tmp_path / "out").exists()


def test_a_lock_that_is_held_for_ever_stops_nobody(filled, tmp_path, monkeypatch):
    export(filled, tmp_path)
    monkeypatch.setattr(exporting, "_LOCK_WAIT_S", 0.05)
    with (tmp_path / "MWL" / "lockfile").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert export(filled, tmp_path) == Exported(unchanged=4)


def test_one_at_a_time_keeps_a_folder(filled, tmp_path):
    export(filled, tmp_path, format="orthanc")
    with exporting._alone(tmp_path), pytest.raises(Outage, match="another export keeps it"):
        export(filled, tmp_path, format="orthanc")
    assert export(filled, tmp_path, format="orthanc") == Exported(unchanged=4)


def test_a_device_sees_its_own_list_in_its_own_letters(filled, tmp_path):
    table = DeviceTable.model_validate(
        {
            "ae_title": "MR1",
            "modality": "MR",
            "worklist": {"modalities": ["MR"], "defaults": {"PatientSize": "1.70"}},
            "characters": {"sets": ["ISO_IR 100"]},
        }
    )
    filled.write(lambda session: devices.add(session, table, now=NOW))
    export(filled, tmp_path, format="orthanc", device="MR1")
    (file,) = tmp_path.glob("*.wl")
    item = pydicom.dcmread(file)
    assert str(item.PatientName).isascii()
    assert item.PatientSize == 1.7
    with pytest.raises(Rejected, match="there is no device CT9"):
        export(filled, tmp_path, format="orthanc", device="CT9")


def test_files_are_written_in_the_set_that_is_asked_for(filled, tmp_path):
    export(filled, tmp_path / "cyrillic", format="orthanc", charset="ISO_IR 144")
    sets = {
        (item.PatientID, item.get("SpecificCharacterSet"))
        for item in map(pydicom.dcmread, (tmp_path / "cyrillic").glob("*.wl"))
    }
    assert ("P4", "ISO_IR 144") in sets
    assert "Иванов^Иван" in names(tmp_path / "cyrillic")
    export(filled, tmp_path / "any", format="orthanc")
    assert "Иванов^Иван" in names(tmp_path / "any")
    assert "Müller^Number1" in names(tmp_path / "any")


def shown(folder):
    return sorted(
        sorted(
            (element.tag, str(element.value))
            for element in pydicom.dcmread(file).iterall()
            if element.VR != "SQ"
        )
        for file in folder.glob("*.wl")
    )


def test_what_is_exported_and_imported_is_the_same(filled, postgresql_database, tmp_path):
    filled.write(lambda session: apply(session, _rich(), now=NOW, zone=ZONE))
    export(filled, tmp_path / "one", format="orthanc")
    report = import_folder(postgresql_database, tmp_path / "one", now=NOW, zone=ZONE)
    assert (report.imported, report.problems) == (5, [])
    export(postgresql_database, tmp_path / "two", format="orthanc")
    assert len(files(tmp_path / "one")) == 5
    assert shown(tmp_path / "two") == shown(tmp_path / "one")
    assert files(tmp_path / "two") == files(tmp_path / "one")


def _rich():
    """Make an order that says more than files usually do."""
    step = StepChange(
        sps_id="S9",
        start=NOW,
        fields={"modality": "US", "description": "Liver", "location": "Room 1"},
        attributes={
            "Occupation": "Sailor",
            f"{kept.STEP}ScheduledProcedureStepEndDate": "20300104",
            kept.private(0x0009, 0x01, "ACME 1.0"): "private",
        },
    )
    procedure = ProcedureChange(
        "RP9",
        requested_procedure_id="RP9",
        study_uid="1.2.9",
        fields={"accession_number": "ACC9", "description": "Liver", "priority": "STAT"},
        steps=[step],
    )
    patient = PatientChange(
        Identifier("P9", "HOSP", "1.2.3", "ISO"),
        others=((Identifier("SS9", "STATE"), "SS"),),
        fields={"patient_name": "Yamada^Tarou=山田^太郎=やまだ^たろう", "language": "de"},
    )
    return OrderChange(
        "RIS^A",
        Action.CREATE,
        Identifier("F9", "RIS"),
        patient,
        placer=Identifier("O9", "WARD", "1.2.4", "ISO"),
        filler=Identifier("F9", "RIS"),
        fields={"requesting_service": "Ward", "admission_id": "V9", "admission_issuer": "ADM"},
        procedures=[procedure],
    )


@pytest.mark.parametrize("peer", ["wlmscpfs", "orthanc"])
def test_who_serves_the_folder_answers_as_we_do(peer, filled, serve, tmp_path):
    out = tmp_path / "out"
    export(filled, out, format=peer, charset="ISO_IR 192")
    ours = serve(WorklistService(filled, ZONE)).address[1]
    start = serving_wlmscpfs if peer == "wlmscpfs" else serving_orthanc
    with start(out, tmp_path) as theirs:
        for number, keys in enumerate(QUERIES[::3]):
            mine = ask(ours, tmp_path / f"ours{number}", keys)
            assert mine == ask(theirs, tmp_path / f"theirs{number}", keys), keys
