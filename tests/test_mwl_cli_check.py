"""`mwl check` finds what is wrong, and changes nothing."""

import re
import socket
from pathlib import Path

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
        assert found["database"] == ("ok", "sqlite:///mwl.db, revision 0002")
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
    assert found["dicom.port"][0] == "ok"


def test_nobody_may_associate_is_told(tmp_path: Path, sqlite_url: str) -> None:
    done = mwl(tmp_path, "check", **FREE, MWL_DATABASE__URL=sqlite_url, MWL_DICOM__ADMIT="known")
    assert findings(done.stdout)["devices"][0] == "WARN"


def test_password_of_the_database_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql+psycopg://mwl:s3cret@127.0.0.1:1/mwl"
    done = mwl(tmp_path, "check", **FREE, MWL_DATABASE__URL=url)
    assert findings(done.stdout)["database"][0] == "FAIL"
    assert "s3cret" not in done.stdout + done.stderr
