"""`mwl check` finds what is wrong, and changes nothing."""

import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from mwl.cli.checks import Finding
from mwl.cli.checks import _keywords as keywords
from mwl.cli.checks import _shared as shared
from mwl.cli.checks import findings as looked_at
from mwl.cli.receivers import receivers
from mwl.config import Archive, Settings, load
from mwl.db import Database
from mwl.db.migrate import REVISION
from mwl.db.tables import Device
from mwl.scu.worklist import SOP_CLASS as WORKLIST
from tests import s3
from tests.pps_manager import Scripted
from tests.serving import Serving
from tests.test_mwl_cli import mwl

FREE = {f"MWL_{name}__PORT": "0" for name in ("DICOM", "HL7", "WEB")}


def findings(output: str) -> dict[str, tuple[str, str]]:
    lines = (re.fullmatch(r"(ok  |WARN|FAIL)  (\S+) +(.*)", line) for line in output.splitlines())
    return {match[2]: (match[1].strip(), match[3]) for match in lines if match}


def test_fresh_machine_is_fine_and_stays_as_it_was(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = mwl(data, "check", **FREE, MWL_SITE__ZONE="Europe/Berlin")
    found = findings(done.stdout)
    assert done.returncode == 0, done.stdout
    assert len(found) == len(done.stdout.splitlines())
    assert found["data_dir"] == ("ok", f"{data} is created at the first start")
    assert found["archive"][0] in {"ok", "WARN"}  # as this machine's disk is
    assert found["archive"][1].startswith(f"{data}/objects is created at the first image: ")
    assert found["database"] == ("ok", "sqlite:///mwl.db is created at the first start")
    assert found["site.zone"][0] == "ok"
    assert not data.exists()


def test_server_that_runs_is_found_to_serve(tmp_path: Path) -> None:
    with Serving(tmp_path) as server:
        server.start()
        environ = {k: v for k, v in server.environ.items() if k.startswith("MWL_")}
        environ.pop("MWL_DATA_DIR")
        found = findings(mwl(server.data_dir, "check", **environ).stdout)
        for role, port in server.ports.items():
            assert found[f"{role}.port"] == ("ok", f"127.0.0.1:{port} is served by mwl")
        assert found["database"] == ("ok", f"sqlite:///mwl.db, revision {REVISION}")
        assert found["journal"][0] == "ok"
        assert found["journal"][1].startswith("No message is kept.")
        assert server.stop() == 0


def test_each_fault_is_found_and_none_hides_another(tmp_path: Path) -> None:
    (tmp_path / "mwl.db").write_bytes(b"not a database at all" * 100)
    tmp_path.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = mwl(
            tmp_path,
            "check",
            **{**FREE, "MWL_HL7__PORT": str(port)},
            MWL_HL7__PROFILE="nothing",
            MWL_DICOM__HOST="0.0.0.0",
            MWL_DICOM__ADMIT="any",
            MWL_DICOM__USER_IDENTITY="required",
            MWL_WORKLIST__KEEP_DAYS="30",
        )
    found = findings(done.stdout)
    assert done.returncode == 1
    assert found["hl7.port"][0] == "FAIL"
    assert f"127.0.0.1:{port} is in use by another program" in found["hl7.port"][1]
    assert found["hl7.profile"][0] == "FAIL"
    assert found["database"][0] == "FAIL"
    assert found["data_dir"][0] == "WARN"
    assert found["site.zone"][0] == "WARN"
    assert found["dicom.admit"][0] == "WARN"
    assert found["dicom.user_identity"][0] == "WARN"
    assert found["worklist.keep_days"][0] == "WARN"  # less than journal.keep_days
    assert found["dicom.port"][0] == "ok"


def test_receivers_are_called_and_none_may_be_ourselves(tmp_path: Path) -> None:
    tables = [("destination", "there"), ("destination", "nobody"), ("forward", "us")]
    with socket.create_server(("127.0.0.1", 0)) as ris, socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and not listened on
        ports = [ris.getsockname()[1], free.getsockname()[1], 2599]
        lines = [
            f'[[hl7.{table}]]\nname = "{name}"\nhost = "localhost"\nport = {port}'
            for (table, name), port in zip(tables, ports, strict=True)
        ]
        (tmp_path / "mwl.toml").write_text("\n".join(lines))
        settings = load(tmp_path / "mwl.toml", environ={"MWL_HL7__PORT": "2599"})
        there, nobody, us = receivers(settings)
    assert (there.level, there.subject) == ("ok", "hl7.destination")
    assert there.text.startswith("there: takes connections")
    assert (nobody.level, nobody.text.partition(":")[0]) == ("warn", "nobody")
    assert (us.level, us.subject) == ("fail", "hl7.forward")
    assert us.text == "us: localhost:2599 is our own hl7.port: name another system's"


def test_pps_managers_are_asked_whether_they_take_mpps(tmp_path: Path) -> None:
    with Scripted() as there, Scripted(abstract_syntaxes=("1.2.3",)) as deaf:
        tables = [("there", "DOSE", there), ("deaf", "DOSE", deaf), ("misnamed", "RIS", there)]
        lines = [
            f'[[mpps.forward]]\nname = "{name}"\nae_title = "{title}"\nhost = "127.0.0.1"\n'
            f"port = {manager.port}\n"
            for name, title, manager in tables
        ]
        (tmp_path / "mwl.toml").write_text("\n".join(lines))
        found = list(receivers(load(tmp_path / "mwl.toml", environ={})))
        assert there.received == []
    assert [each.subject for each in found] == ["mpps.forward"] * 3
    assert [(each.level, each.text) for each in found[:2]] == [
        ("ok", "there: takes MPPS of MWL"),
        ("warn", "deaf: took our association, but takes no MPPS on this port"),
    ]
    assert found[2].text.startswith("misnamed: it refuses RIS, as we call it")


def test_nobody_may_associate_is_told(tmp_path: Path, sqlite_url: str) -> None:
    done = mwl(tmp_path, "check", **FREE, MWL_DATABASE__URL=sqlite_url, MWL_DICOM__ADMIT="known")
    assert findings(done.stdout)["devices"][0] == "WARN"


def test_keywords_that_no_attribute_has_are_told() -> None:
    well = Device(
        ae_title="CT1", worklist={"defaults": {"PatientSex": "O"}, "ignore": ["Modality"]}
    )
    ill = Device(
        ae_title="MR1", worklist={"defaults": {"Sex": "O"}, "ignore": ["Ward", "Modality"]}
    )
    (found,) = keywords([well, ill])
    assert (found.level, found.text) == ("warn", "MR1: no attribute is called Sex, Ward")


def test_a_title_of_two_devices_is_told() -> None:
    known = [Device(ae_title="CT1", aliases=["old", "ct2"]), Device(ae_title="CT2", aliases=["X"])]
    (found,) = shared(known)
    assert (found.level, found.text) == (
        "warn",
        "CT2 is a title of CT1 and of CT2: take it from one",
    )


def test_password_of_the_database_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql+psycopg://mwl:s3cret@127.0.0.1:1/mwl"
    done = mwl(tmp_path, "check", **FREE, MWL_DATABASE__URL=url)
    assert findings(done.stdout)["database"][0] == "FAIL"
    assert "s3cret" not in done.stdout + done.stderr


# --- the archive


def archive_of(data_dir: Path, **given: object) -> Finding:
    settings = Settings(data_dir=data_dir, archive=Archive.model_validate(given))
    (found,) = (each for each in looked_at(settings, {}) if each.subject == "archive")
    return found


def in_bucket(data_dir: Path, given: Archive, **changed: object) -> Finding:
    return archive_of(data_dir, **{**given.model_dump(exclude_defaults=True), **changed})


def test_a_folder_of_images_that_is_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    found = archive_of(tmp_path, min_free_bytes=0)
    assert found.level in {"ok", "warn"}
    assert re.fullmatch(rf"{tmp_path}/objects: [\d.]+ GiB free, 0\.0 stay so \(.*\)", found.text)
    elsewhere = archive_of(tmp_path, objects=str(tmp_path / "images"), min_free_bytes=0)
    assert elsewhere.text.startswith(f"{tmp_path}/images is created at the first image: ")
    assert [path.name for path in tmp_path.iterdir()] == ["objects"]


def test_no_room_for_images_is_told(tmp_path: Path) -> None:
    found = archive_of(tmp_path, min_free_bytes=shutil.disk_usage(tmp_path).total)
    assert found.level == "fail"
    assert re.search(r"images are refused: .* \(archive\.min_free_bytes\); make room", found.text)


def test_a_file_is_no_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "objects").write_bytes(b"")
    for objects in ("objects", "objects/below"):
        found = archive_of(tmp_path, objects=objects)
        told = f"{tmp_path}/objects is no folder: name one in archive.objects"
        assert (found.level, found.text) == ("fail", told)


def test_a_folder_that_can_not_be_is_told(tmp_path: Path) -> None:
    found = archive_of(tmp_path, objects="x" * 300)
    assert (found.level, found.subject) == ("fail", "archive")
    assert "can't be looked at" in found.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_images_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir(mode=0o500)
    found = archive_of(tmp_path)
    assert found.level == "fail"
    assert "can't be read and written by this user" in found.text


@pytest.mark.parametrize("kind", ["s3_bucket", "moto_bucket"])
def test_a_bucket_that_works_is_told(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    given: Archive = request.getfixturevalue(kind)
    found = in_bucket(tmp_path, given)
    assert found.level == "ok"
    assert found.text == f"{given.objects} at {given.endpoint} answers, lists and lets read"
    # As a person meets it, and with nothing left behind.
    done = mwl(tmp_path, "check", **FREE, **s3.environ(given))
    assert findings(done.stdout)["archive"] == ("ok", found.text)
    assert s3.SECRET not in done.stdout + done.stderr
    assert "Contents" not in s3.client(given).list_objects_v2(Bucket=given.objects.split("/")[2])


BUCKETS = {
    "wrong secret": ({"secret_access_key": "wrong-" + s3.SECRET}, r"archive\.secret_access_key"),
    "unknown key": ({"access_key_id": "NOBODY"}, r"archive\.access_key_id .* unknown"),
    "no bucket": ({"objects": "s3://no-such-bucket"}, r"NoSuchBucket 404; create it, or name"),
    "nobody there": ({"endpoint": "http://127.0.0.1:1"}, r"see that .* this machine reaches it"),
    "no endpoint": ({"endpoint": "ftp://127.0.0.1"}, r"archive\.endpoint: must be written"),
}


@pytest.mark.parametrize("fault", BUCKETS)
def test_a_bucket_that_does_not_work_is_told_with_what_to_do(
    s3_bucket: Archive, impatient: None, tmp_path: Path, fault: str
) -> None:
    changed, told = BUCKETS[fault]
    found = in_bucket(tmp_path, s3_bucket, **changed)
    assert found.level == "fail"
    assert re.search(told, found.text)
    assert s3.SECRET not in repr(found)


def test_a_bucket_that_stalls_is_not_waited_for(
    s3_bucket: Archive, proxy: s3.Proxy, impatient: None, tmp_path: Path
) -> None:
    proxy.stall()
    found = in_bucket(tmp_path, s3_bucket, endpoint=f"http://127.0.0.1:{proxy.port}")
    assert found.level == "fail"
    assert "this machine reaches it" in found.text


def test_a_bucket_that_fails_hides_nothing(s3_bucket: Archive, tmp_path: Path) -> None:
    environ = {**s3.environ(s3_bucket), "MWL_ARCHIVE__SECRET_ACCESS_KEY": "wrong-" + s3.SECRET}
    done = mwl(tmp_path, "check", **FREE, **environ)
    found = findings(done.stdout)
    assert done.returncode == 1
    assert found["archive"][0] == "FAIL"
    assert found["database"][0] == found["dicom.port"][0] == "ok"
    assert s3.SECRET not in done.stdout + done.stderr


def test_worklists_that_are_brought_in_are_asked_whether_they_take_queries(tmp_path: Path) -> None:
    with Scripted(abstract_syntaxes=(WORKLIST,)) as ris, Scripted() as deaf:
        lines = [
            f'[[worklist.source]]\nname = "{name}"\nae_title = "DOSE"\nhost = "127.0.0.1"\n'
            f'port = {peer.port}\ncalling = "BRIDGE"\n'
            for name, peer in (("ris", ris), ("deaf", deaf))
        ]
        (tmp_path / "mwl.toml").write_text("\n".join(lines))
        found = list(receivers(load(tmp_path / "mwl.toml", environ={})))
    assert [(each.level, each.subject, each.text) for each in found] == [
        ("ok", "worklist.source", "ris: takes worklist queries of BRIDGE"),
        (
            *("warn", "worklist.source"),
            "deaf: took our association, but takes no worklist queries on this port",
        ),
    ]


def test_folders_that_are_to_be_kept_are_looked_at(
    tmp_path: Path, sqlite_database: Database, sqlite_url: str
) -> None:
    (tmp_path / "file").touch()
    tables = [
        *('folder = "a"\ndevice = "CT1"', 'folder = "b"\ndevice = "ct1_old"'),
        *('folder = "file/c"', 'folder = "d"\ndevice = "MR1"'),
    ]
    text = "".join(f"[[worklist.export]]\n{each}\n" for each in tables)
    text += '[[device]]\nae_title = "CT1"\naliases = ["CT1_OLD"]\n'
    (tmp_path / "mwl.toml").write_text(text)
    given = load(
        tmp_path / "mwl.toml",
        environ={"MWL_DATA_DIR": str(tmp_path), "MWL_DATABASE__URL": sqlite_url},
    )
    found = [each for each in looked_at(given, {}) if each.subject == "worklist.export"]
    assert [(each.level, each.text) for each in found] == [
        ("ok", f"{tmp_path}/a"),
        ("ok", f"{tmp_path}/b"),
        ("fail", f"{tmp_path}/file/c: {tmp_path}/file is no folder that this user can write to"),
        ("ok", f"{tmp_path}/d"),
        ("warn", "no device MR1 is registered, as which a folder is to be kept"),
    ]
