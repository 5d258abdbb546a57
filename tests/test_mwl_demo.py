"""The demo: its pictures and people, and what is left of it in a real server."""

import json
import re
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from sqlalchemy import text

from mwl import archive, charsets, commitment, devices, outbox, procedures
from mwl.config import Settings, load
from mwl.db import Database
from mwl.demo import images, phantom, safety
from mwl.demo.day.programme import ORDERS, programme
from mwl.demo.entries import Entry
from mwl.demo.people import PEOPLE
from mwl.demo.stage import run_name
from mwl.worklist.listing import listing
from tests import warm
from tests.serving import PATIENCE_S, Serving, served

NOW = datetime(2030, 1, 2, 9, 30, tzinfo=UTC)
BRAIN, BONE, FLUID = 35, 900, 5  # Hounsfield units


def rows(server, *command):
    return [json.loads(line) for line in server.run(*command, "--json").stdout.splitlines()]


class TestPhantom:
    def test_a_slice_through_the_middle_shows_skull_brain_and_ventricles(self):
        hounsfield = phantom.head(1)[0].astype(int) - phantom.AIR
        middle = phantom.SIZE // 2

        def about(row, column):
            return np.mean(hounsfield[row - 1 : row + 2, column - 1 : column + 2])

        assert about(2, 2) == pytest.approx(-1024, abs=10)
        assert about(middle + 90, middle) == pytest.approx(BRAIN, abs=10)
        assert about(middle, middle + 28) == pytest.approx(FLUID, abs=10)
        assert about(middle, middle - 28) == pytest.approx(FLUID, abs=10)
        assert hounsfield[:40, middle].max() == pytest.approx(BONE, abs=40)

    def test_the_front_is_up_and_the_larger_ventricle_on_the_right(self):
        dark = phantom.head(1)[0] < phantom.AIR + 20
        inside = phantom.head(1)[0] > 500
        left = (dark & inside)[:, phantom.SIZE // 2 :].sum()
        right = (dark & inside)[:, : phantom.SIZE // 2].sum()
        assert right > left * 1.2

    def test_slices_differ_and_end_with_the_crown(self):
        slices = phantom.head(24)
        sizes = [int((each > 500).sum()) for each in slices]
        assert sizes[0] < sizes[6] > sizes[12] > sizes[18] > sizes[23] > 0
        assert len({each.tobytes() for each in slices}) == 24

    @pytest.mark.parametrize("look", [phantom.CT_LOOK, phantom.MR_LOOK])
    def test_values_have_12_bits(self, look):
        for each in phantom.head(6, look):
            assert (each.shape, each.dtype) == ((256, 256), np.uint16)
            assert each.max() < 4096

    def test_the_same_seed_draws_the_same(self):
        assert np.array_equal(phantom.head(2, seed=4), phantom.head(2, seed=4))
        assert not np.array_equal(phantom.head(2, seed=4), phantom.head(2, seed=5))

    def test_the_radiograph_is_brightest_where_rays_graze_the_skull(self):
        picture = phantom.radiograph()
        line = picture[phantom.SIZE // 2].astype(int)
        met = np.flatnonzero(line)
        assert line[met[0] : met[0] + 12].max() > line[phantom.SIZE // 2]
        assert picture[0].max() == 0

    def test_the_fan_has_a_cyst_in_its_speckle(self):
        picture = phantom.fan()
        assert picture.max() <= 255
        assert picture[134, 109] < 10 < picture[200, 128]


class TestImages:
    @pytest.mark.parametrize(("modality", "count"), [("CT", 4), ("MR", 4), ("DX", 1), ("US", 2)])
    def test_what_is_written_is_read_as_what_was_drawn(self, tmp_path, modality, count):
        entry = Entry("P1", "山田^太郎", modality, "1.2.3", accession="A1", step_id="S1")
        made = images.make(entry, "DEMO", count, NOW)
        assert len({image.SOPInstanceUID for image in made}) == count
        for number, image in enumerate(made, start=1):
            path = tmp_path / f"{number}.dcm"
            image.save_as(path, enforce_file_format=True)
            read = dcmread(path)
            assert read.PatientName == "山田^太郎"
            assert read.InstanceNumber == number
            assert read.RequestAttributesSequence[0].ScheduledProcedureStepID == "S1"
            assert read.pixel_array.shape == (256, 256)
            assert read.pixel_array.max() < 1 << read.BitsStored

    def test_slices_lie_where_they_say(self):
        entry = Entry("P1", "Doe^Jane", "CT", "1.2.3")
        made = images.make(entry, "DEMO", 24, NOW)
        places = [float(image.ImagePositionPatient[2]) for image in made]
        gaps = np.diff(places)
        assert gaps == pytest.approx([float(made[0].SpacingBetweenSlices)] * 23, abs=0.01)
        assert len({image.FrameOfReferenceUID for image in made}) == 1


class TestPeople:
    @pytest.mark.parametrize("person", PEOPLE, ids=lambda each: each.name.split("~")[0])
    def test_every_name_is_said_in_its_character_set(self, person):
        encoded = charsets.encode_hl7(person.name, person.charset)
        assert encoded is not None
        assert charsets.decode(encoded, [person.charset]).text == person.name

    def test_ways_of_writing_a_name_become_component_groups(self):
        yamada = next(each for each in PEOPLE if each.name.startswith("Yamada"))
        assert yamada.dicom_name == "Yamada^Tarou=山田^太郎=やまだ^たろう"


class TestProgramme:
    def test_a_seed_makes_the_day(self):
        one, again, other = (
            [(each.code, each.patient.person) for each in programme("R", seed, NOW).orders]
            for seed in (1, 1, 2)
        )
        assert one == again != other
        assert len(one) == ORDERS == 60

    def test_runs_have_names_of_their_own(self):
        names = {run_name(NOW + timedelta(milliseconds=10 * step)) for step in range(100)}
        assert len(names) == 100
        assert all(re.fullmatch("D[0-9A-Z]{6,8}", name) for name in names)

    def test_accession_numbers_fit_their_attribute(self):
        orders = programme(run_name(datetime(2099, 1, 1, tzinfo=UTC)), 1, NOW).orders
        assert max(len(each.number) for each in orders) <= 16  # SH


def settings(**environ):
    return load(None, {f"MWL_{name.upper()}": value for name, value in environ.items()})


class TestSafety:
    def test_loopback_is_no_danger(self):
        assert list(safety.dangers(Settings())) == []

    @pytest.mark.parametrize("key", ["dicom__host", "hl7__host"])
    def test_what_others_can_reach_is_one(self, key):
        (danger,) = safety.dangers(settings(**{key: "0.0.0.0"}))
        assert danger.startswith(key.replace("__", "."))

    @pytest.mark.parametrize(
        ("host", "sources", "told"),
        [
            ("10.0.0.5", (), True),
            ("10.0.0.5", ("DEMO-RIS^DEMO",), True),
            ("10.0.0.5", ("RIS^HOSPITAL",), False),
            ("127.0.0.1", (), False),
        ],
    )
    def test_a_system_that_would_be_told_of_test_orders_is_one(self, host, sources, told):
        destination = {"name": "ris", "host": host, "port": 2576, "sources": sources}
        given = Settings.model_validate({"hl7": {"destination": [destination]}})
        assert bool(list(safety.dangers(given))) is told

    @pytest.mark.parametrize(
        ("host", "devices", "told"),
        [
            ("10.0.0.8", (), True),
            ("10.0.0.8", ("demo-ct*",), True),
            ("10.0.0.8", ("CT*",), False),
            ("127.0.0.1", (), False),
        ],
    )
    def test_a_manager_that_would_be_sent_test_mpps_is_one(self, host, devices, told):
        manager = {"name": "dose", "ae_title": "DOSE", "host": host, "port": 104}
        given = {"mpps": {"forward": [{**manager, "devices": devices}]}}
        assert bool(list(safety.dangers(Settings.model_validate(given)))) is told


class TestCommand:
    def test_without_a_server_it_says_what_to_type(self, tmp_path, closed_ports):
        done = closed_ports.run("demo", code=1)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert "type `mwl serve`" in line

    def test_it_does_not_play_where_patients_may_be(self, closed_ports):
        closed_ports.environ["MWL_DICOM__HOST"] = "0.0.0.0"
        done = closed_ports.run("demo", "--day", code=2)
        assert "dicom.host is 0.0.0.0" in done.stderr
        assert "--yes-really" in done.stderr
        # Meant, it goes on, and finds that nobody serves.
        assert "`mwl serve`" in closed_ports.run("demo", "--yes-really", code=1).stderr

    def test_where_known_devices_alone_may_come_it_says_how_to_become_one(self, tmp_path):
        with served(tmp_path, MWL_DICOM__ADMIT="known") as server:
            done = server.run("demo", code=1)
            assert "`mwl device add DEMO-CT1`" in done.stderr
            server.run("device", "add", "DEMO-CT1")
            server.run("demo")


@pytest.fixture
def closed_ports(tmp_path):
    """Commands with settings of a server that isn't there."""
    server = Serving(tmp_path)
    server.ports = dict.fromkeys(("dicom", "hl7", "web"), 1)
    environ = server.environ
    return SimpleNamespace(environ=environ, run=lambda *words, code: _run(environ, words, code))


def _run(environ, words, code):
    done = warm.run(words, env=environ, timeout=PATIENCE_S)
    assert done.returncode == code, done
    return done


def test_an_examination_closes_its_order_twice_and_its_images_come_back(tmp_path):
    with served(tmp_path) as server:
        said = server.run("demo", "--count", "2").stdout
        server.run("demo")
        entries = rows(server, "worklist", "list")
        assert [each["order_status"] for each in entries] == ["CLOSED"] * 3
        assert len({each["accession_number"] for each in entries}) == 3
        assert [each["flags"] for each in entries] == [[]] * 3
        web = server.ports["web"]
        for row in (1, 2):
            assert f"http://127.0.0.1:{web}/orders/{row}\n" in said
            assert f"http://127.0.0.1:{web}/studies/{row}\n" in said
        assert said.count("order CLOSED") == 2
        studies = rows(server, "study", "list")
        assert [each["instances"] for each in studies] == [24] * 3
        assert [each["state"] for each in rows(server, "commit", "list")] == ["reported"] * 3
        returned = _fetch(server, studies[0]["study_instance_uid"])
        # Every run draws the same head.
        assert [image.pixel_array.tobytes() for image in returned] == [
            each.tobytes() for each in phantom.head(24)
        ]


def _fetch(server, study_uid):
    """C-GET a study, in the order of its slices."""
    get, came = "1.2.840.10008.5.1.4.1.2.2.3", []

    def take(event):
        came.append(event.dataset)
        came[-1].file_meta = event.file_meta
        return 0x0000

    entity = AE(ae_title="DEMO-WS1")
    entity.add_requested_context(get)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate(
        "127.0.0.1",
        server.ports["dicom"],
        ae_title="MWL",
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, take)],
    )
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", study_uid
    statuses = [status.Status for status, _ in association.send_c_get(wanted, get)]
    association.release()
    assert statuses[-1] == 0x0000
    return sorted(came, key=lambda image: int(image.InstanceNumber))


def test_a_day_leaves_something_for_every_page(tmp_path):
    with served(tmp_path) as server:
        said = server.run("demo", "--day").stdout
        web = server.ports["web"]
        server.stop()  # who knocked is written every two seconds, and at the end
    with closing(Database("sqlite:///mwl.db", data_dir=server.data_dir)) as database:
        _look_at_the_worklist(list(listing(database, zone=ZoneInfo("UTC"))))
        _look_at_what_waits(database)
        with database.read() as session:
            _look_at_peers(session)
    assert said.count(f"http://127.0.0.1:{web}/") >= 10


def _look_at_the_worklist(entries):
    states = Counter(each["status"] for each in entries)
    orders = Counter(each["order_status"] for each in entries)
    assert states["SCHEDULED"] > 30
    assert [states[each] for each in ("STARTED", "HELD", "CANCELED", "ARRIVED")] == [3, 1, 3, 3]
    assert (orders["CLOSED"], orders["DISCONTINUED"]) == (11, 1)
    assert orders["COMPLETED"] == 1  # two of its images are missing
    assert any(each["flags"] for each in entries)
    names = "".join(each["patient_name"] for each in entries)
    for letter in "ŁИΓق山やשใñ홍कȘř":
        assert letter in names
    (merged,) = (each for each in entries if each["accession_number"].endswith("-M1"))
    assert not merged["patient_id"].endswith("-TWICE")


def _look_at_what_waits(database):
    now = datetime.now(UTC)
    (stuck,) = procedures.listing(database, now=now, stuck=timedelta(hours=12))
    assert stuck["status"] == "IN PROGRESS"
    assert len(list(procedures.listing(database, now=now, unscheduled=True))) == 1
    unmatched = [each["matched_by"] for each in archive.studies(database, unmatched=True)]
    assert sorted(unmatched) == ["", "wrong entry"]
    reasons = Counter(each["reason"] for each in archive.quarantined(database))
    assert sorted(reasons.values()) == [1, 3]


def _look_at_peers(session):
    deliveries = Counter(each["state"] for each in outbox.listing(session))
    assert deliveries == {"done": 1, "parked": 1, "waiting": 1}
    asked = Counter(each["state"] for each in commitment.listing(session))
    assert asked["waiting"] == 1
    (acks,) = session.connection().execute(
        text("select sum(ack_code = 'AE'), sum(ack_code = 'AR'), sum(flags <> '[]') from message")
    )
    assert acks[:2] == (3, 3)
    assert acks[2] >= 1
    known = {each.ae_title for each in devices.listing(session)}
    assert known == {"DEMO-CT1", "DEMO-MR1", "DEMO-US1"}
    assert {each.admitted for each in devices.knocks(session)} == {True, False}
