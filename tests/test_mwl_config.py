"""Settings: the shipped file tells the truth, and every fault is one line that names it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mwl.config import DeviceTable, Settings, is_loopback, load, shipped
from mwl.errors import ConfigError


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write a document as dotted keys; lists of tables stand for themselves."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mwl.toml"
    file.write_text(text, "utf-8")
    return file


def fault(tmp_path: Path, text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), environ)
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(f"{tmp_path}/", "")


def test_shipped_file_and_code_agree_on_every_default() -> None:
    in_file = flat(tomllib.loads(shipped("mwl.toml").read_text("utf-8")))
    in_code = flat(Settings().model_dump(mode="json"))
    hl7 = ("hl7.destination", "hl7.forward", "hl7.listener", "hl7.source")
    tables = ("device", *hl7, "mpps.forward", "worklist.source", "worklist.export")
    lists = {key: in_code.pop(key) for key in tables}
    assert in_file == in_code
    assert not any(lists.values())


def test_config_of_somebody_else_beside_the_installed_package_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mwl.config.reading._MWL", tmp_path / "mwl")
    (tmp_path / "config").mkdir()
    assert shipped("mwl.toml") == tmp_path / "config" / "mwl.toml"
    (tmp_path / "mwl" / "_config").mkdir(parents=True)
    assert shipped("mwl.toml") == tmp_path / "mwl" / "_config" / "mwl.toml"


def test_every_key_of_the_shipped_file_is_explained() -> None:
    explained = False
    for line in shipped("mwl.toml").read_text("utf-8").splitlines():
        if line.startswith("#"):
            explained = True
        elif not line or line.startswith("["):
            explained = False if not line else explained
        elif line.split(" ")[0] not in {"host", "port", "processes", "max_connections"}:
            assert explained or "#" in line, f"no comment: {line}"


def test_commented_tables_of_the_shipped_file_can_be_used_as_they_stand(tmp_path: Path) -> None:
    text = shipped("mwl.toml").read_text("utf-8")
    tables = re.sub(r"(?m)^# (?=\[\[|\[device\.|\w+ = )", "", text)
    settings = load(written(tmp_path, tables), {})
    (device,) = settings.device
    assert device.ae_title == "CT1"
    for table in (device, device.worklist, device.characters):
        assert table.model_fields_set == set(type(table).model_fields)
    assert [each.name for each in settings.hl7.destination] == ["ris"]
    assert [each.name for each in settings.mpps.forward] == ["dose"]
    assert [each.name for each in settings.worklist.source] == ["main-ris"]
    assert [each.folder for each in settings.worklist.export] == ["worklists"]


def test_defaults_are_those_that_the_documents_name() -> None:
    settings = load(None, {})
    assert (settings.dicom.port, settings.dicom.ae_title, settings.dicom.processes) == (
        11112,
        "MWL",
        1,
    )
    assert (settings.hl7.port, settings.web.port, settings.commit.wait_min) == (2575, 8080, 60)
    hosts = {settings.dicom.host, settings.hl7.host, settings.web.host}
    assert all(map(is_loopback, hosts))


@pytest.mark.parametrize(
    ("variable", "value", "place"),
    [
        ("MWL_DATA_DIR", "/srv/mwl", "data_dir"),
        ("MWL_DATABASE__URL", "postgresql+psycopg://mwl@db/mwl", "database.url"),
        ("MWL_DICOM__HOST", "0.0.0.0", "dicom.host"),
        ("MWL_DICOM__PORT", "104", "dicom.port"),
        ("MWL_DICOM__AE_TITLE", "RIS BRIDGE", "dicom.ae_title"),
        ("MWL_DICOM__PROCESSES", "4", "dicom.processes"),
        ("MWL_DICOM__TLS__PORT", "2762", "dicom.tls.port"),
        ("MWL_DICOM__TLS__KEY_PASSWORD", "x", "dicom.tls.key_password"),
        ("MWL_HL7__HOST", "::1", "hl7.host"),
        ("MWL_HL7__PORT", "6661", "hl7.port"),
        ("MWL_WEB__HOST", "localhost", "web.host"),
        ("MWL_WEB__PORT", "80", "web.port"),
        ("MWL_SITE__ZONE", "Europe/Berlin", "site.zone"),
        ("MWL_COMMIT__WAIT_MIN", "5.0", "commit.wait_min"),
    ],
)
def test_environment_overrides_a_key(variable: str, value: str, place: str) -> None:
    needed = {"MWL_DICOM__TLS__CERTIFICATE": "c.pem"} if "tls" in place else {}
    settings = flat(load(None, {**needed, variable: value}).model_dump(mode="json"))
    assert str(settings[place]) == value
    assert flat(load(None, {}).model_dump(mode="json"))[place] != settings[place]


def test_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "[dicom]\nport = 1\nae_title = 'FILE'\n")
    settings = load(file, {"MWL_DICOM__PORT": "2"})
    assert (settings.dicom.port, settings.dicom.ae_title) == (2, "FILE")


def test_file_is_named_by_option_then_by_variable(tmp_path: Path) -> None:
    by_option = written(tmp_path, "[dicom]\nport = 1\n")
    by_variable = tmp_path / "other.toml"
    by_variable.write_text("[dicom]\nport = 2\n")
    environ = {"MWL_CONFIG": str(by_variable)}
    assert load(by_option, environ).dicom.port == 1
    assert load(None, environ).dicom.port == 2
    assert load(None, environ).origin == by_variable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[dicom]\nprot = 1", "mwl.toml: dicom.prot: no such setting; did you mean port?"),
        ("[dicm]\nport = 1", "mwl.toml: dicm: no such setting; did you mean dicom?"),
        ("dicom = 3", "mwl.toml: dicom: must be a table, written [dicom]"),
        ("[dicom]\ntls = 3", "mwl.toml: dicom.tls: must be a table, written [dicom.tls]"),
        ("[dicom.tls]\nprot = 1", "mwl.toml: dicom.tls.prot: no such setting; did you mean port?"),
        ("[dicom.tls]\nport = 1", "mwl.toml: dicom.tls: certificate: is missing: "),
        ("[dicom.tls]\nkey = 'k'", "mwl.toml: dicom.tls: certificate: is missing: "),
        ("[dicom.tls]\nclient = 'required'", "mwl.toml: dicom.tls: ca: is missing: "),
        ("[dicom.tls]\nclient = 'all'", "mwl.toml: dicom.tls.client: "),
        ("[dicom.tls]\nkey_password = 77", "mwl.toml: dicom.tls.key_password: should be a valid"),
        ("[[device]]\nae_title = 'A'\ncertificate = 'sha256:7'", "mwl.toml: device[1].certificate"),
        ("[[dicom]]\nport = 1", "mwl.toml: dicom: must be a table, written [dicom]"),
        ("data_dir = ''", "mwl.toml: data_dir: must name a folder, not ''"),
        ("data_dir = ' '", "mwl.toml: data_dir: must name a folder, not ' '"),
        ("data_dir = 5", "mwl.toml: data_dir: must name a folder, not '5'"),
        ('data_dir = "a\\u0000b"', "mwl.toml: data_dir: must name a folder, not "),
        (
            "[device]\nae_title = 'A'",
            "mwl.toml: device: must be a list of tables, each written [[d",
        ),
        ("device = [3]", "mwl.toml: device[1]: must be a table, written [[device]]"),
        ("[[device]]\nae_title = 'A'\nmay = 'worklist'", "mwl.toml: device[1].may: must be a list"),
        (
            "[hl7.destination]\nname = 'r'",
            "mwl.toml: hl7.destination: must be a list of tables, each written [[hl7.destination]]",
        ),
        ("[dicom]\nport = 70000", "mwl.toml: dicom.port: should be less than or equal to 65535"),
        ("[dicom]\nport = true", "mwl.toml: dicom.port: must be a number"),
        ("[web]\nport = 'http'", "mwl.toml: web.port: should be a valid integer"),
        ("[web]\nhost = 'a b'", "mwl.toml: web.host: must be an IP address or a host name"),
        ("[dicom]\nae_title = 'A\\\\B'", "mwl.toml: dicom.ae_title: an AE title has 1 to 16"),
        ("[dicom]\nae_title = 'ABCDEFGHIJKLMNOPQ'", "mwl.toml: dicom.ae_title: an AE title has"),
        ("[dicom]\nae_title = '  '", "mwl.toml: dicom.ae_title: an AE title has 1 to 16 ASCII"),
        ("[dicom]\nadmit = 'all'", "mwl.toml: dicom.admit: should be 'auto', 'any' or 'known'"),
        ("[site]\nzone = 'Mars/Olympus'", "mwl.toml: site.zone: no such time zone"),
        ("[site]\nzone = '../etc/passwd'", "mwl.toml: site.zone: no such time zone"),
        ("[hl7]\nprofile = '../x'", "mwl.toml: hl7.profile: "),
        ("[hl7]\nidle_timeout_s = inf", "mwl.toml: hl7.idle_timeout_s: "),
        ("[database]\nurl = 'mysql://h/d'", "mwl.toml: database.url: must start with sqlite:///"),
        ("[database]\nurl = 'sqlite://'", "mwl.toml: database.url: must start with sqlite:///"),
        ("[database]\nurl = 'postgresql://u:p@h:x/d'", "mwl.toml: database.url: must be written p"),
        ("[database]\nurl = 'postgresql://u:p@h:/d'", "mwl.toml: database.url: must be written p"),
        ("[database]\nurl = 'postgresql://[::bad'", "mwl.toml: database.url: must be written po"),
        ("[database]\nurl = 'postgresql:///d?port=x'", "mwl.toml: database.url: must be written"),
        ("[[device]]\nhost = 'h'", "mwl.toml: device[1].ae_title: is missing"),
        ("[[device]]\nae_title = 'A'\nport = 0", "mwl.toml: device[1].port: should be greater"),
        ("[[device]]\nae_title = 'A'\nmay = ['fly']", "mwl.toml: device[1].may[1]: should be"),
        (
            "[[device]]\nae_title = 'a'\n[[device]]\nae_title = 'A '",
            "mwl.toml: device[2].ae_title: 'A' is a title of device[1] already",
        ),
        (
            "[[device]]\nae_title = 'A'\n[[device]]\nae_title = 'B'\naliases = ['C', 'a']",
            "mwl.toml: device[2].aliases[2]: 'a' is a title of device[1] already",
        ),
        (
            "[[device]]\nae_title = 'A'\naliases = ['a']",
            "mwl.toml: device[1].aliases[1]: 'a' is a title of this device already",
        ),
        (
            "[[device]]\nae_title = 'A'\nworklist = 3",
            "mwl.toml: device[1].worklist: must be a table, written [device.worklist] below its [[",
        ),
        (
            "[[device]]\nae_title = 'A'\n[device.worklist]\nmodalitys = ['CT']",
            "mwl.toml: device[1].worklist.modalitys: no such setting; did you mean modalities?",
        ),
        (
            "[[device]]\nae_title = 'A'\n[device.worklist]\nmodalities = 'CT'",
            'mwl.toml: device[1].worklist.modalities: must be a list, like ["CT"]',
        ),
        (
            "[[device]]\nae_title = 'A'\n[device.worklist]\nsynonyms = { CR = 'DX' }",
            'mwl.toml: device[1].worklist.synonyms.CR: must be a list, like ["CR"]',
        ),
        (
            "[[device]]\nae_title = 'A'\n[device.worklist.defaults]\ncolour = 'red'",
            "mwl.toml: device[1].worklist.defaults.colour: must be the keyword of an",
        ),
        (
            "[[device]]\nae_title = 'A'\nmodality = 'ct'",
            "mwl.toml: device[1].modality: must be a code of at most 16 capital letters and digits",
        ),
        (
            "[[device]]\nae_title = 'A'\n[device.worklist]\ntolerates = 'dates'",
            'mwl.toml: device[1].worklist.tolerates: must be a list, like ["dates"]',
        ),
        (
            "[[worklist.source]]\nname = 'our RIS'",
            "mwl.toml: worklist.source[1].name: must be a name of 1 to 64 letters and digits, or ",
        ),
        (
            "[[device]]\nae_title = 'A'\n[device.characters]\nset = ['ISO_IR 100']",
            "mwl.toml: device[1].characters.set: no such setting; did you mean sets?",
        ),
        (
            "[[device]]\nae_title = 'A'\n[device.characters]\nsets = ['ISO_IR 100', 'latin']",
            "mwl.toml: device[1].characters.sets[2]: no Specific Character Set of PS3.3 C.12.1.1.2",
        ),
        (
            "[[device]]\nae_title = 'A'\n[device.characters]\nassumed = 'klingon'",
            "mwl.toml: device[1].characters.assumed: no such character set, as ISO_IR 100 or",
        ),
        (
            "[[device]]\nae_title = 'A'\nzone = 'Europe/Berln'",
            "mwl.toml: device[1].zone: no such time zone; write an IANA name",
        ),
        (
            "[[hl7.destination]]\nname = 'r'\nhost = 'h'\nport = 1\nprot = 2",
            "mwl.toml: hl7.destination[1].prot: no such setting; did you mean port?",
        ),
        ("[dicom]\nport =", "mwl.toml: not TOML: Invalid value (at "),
        ("[dicom]\n[dicom]", "mwl.toml: not TOML: "),
    ],
)
def test_fault_in_the_file_is_one_line_that_names_the_key(
    tmp_path: Path, text: str, line: str
) -> None:
    assert fault(tmp_path, text).startswith(line)


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("MWL_DICOM__PORT", "x", "MWL_DICOM__PORT: dicom.port: should be a valid integer"),
        ("MWL_DICOM__PROT", "1", "MWL_DICOM__PROT: no such setting in the environment; did you"),
        ("MWL_NOTHING__LIKE_IT", "1", "MWL_NOTHING__LIKE_IT: no such setting in the environment"),
        ("MWL_DICOM_PORT", "1", "MWL_DICOM_PORT: no such setting in the environment; did you mean"),
        (
            "MWL_DICOM",
            "x",
            "MWL_DICOM: is a table; a variable sets one key of it, like MWL_DICOM__",
        ),
        ("MWL_DEVICE", "x", "MWL_DEVICE: is a table of the file alone"),
        ("MWL_DATADIR", "x", "MWL_DATADIR: no such setting in the environment; did you mean"),
        ("MWL_DATA_DIR", "", "MWL_DATA_DIR: data_dir: must name a folder, not ''"),
        ("MWL_SITE__ZONE", "", "MWL_SITE__ZONE: site.zone: no such time zone"),
    ],
)
def test_fault_in_the_environment_is_one_line_that_names_the_variable(
    tmp_path: Path, variable: str, value: str, line: str
) -> None:
    assert fault(tmp_path, "", **{variable: value}).startswith(line)


def test_variables_of_others_are_let_be(tmp_path: Path) -> None:
    # An orchestrator sets such for a service called "mwl".
    others = {"MWL_SERVICE_HOST": "10.0.0.1", "MWL_PORT_2575_TCP": "tcp://x", "PATH": "/bin"}
    assert load(written(tmp_path, ""), others).hl7.port == 2575


def test_section_that_is_no_table_is_named_when_a_variable_would_go_into_it(tmp_path: Path) -> None:
    assert fault(tmp_path, "dicom = 3", MWL_DICOM__PORT="1").startswith("mwl.toml: dicom: must be")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: can't be read: No such file"):
        load(tmp_path / "nowhere.toml", {})
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(tmp_path, {})
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"[dicom]\n# f\xfcr\n")
    with pytest.raises(ConfigError, match=r"not UTF-8 \(at line 2\)"):
        load(latin, {})
    long = tmp_path / "long.toml"
    long.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="longer than"):
        load(long, {})


@pytest.mark.parametrize("prefix", ["postgres://", "postgresql://", "postgresql+psycopg://"])
def test_passwords_are_shown_nowhere(prefix: str, tmp_path: Path) -> None:
    settings = load(None, {"MWL_DATABASE__URL": f"{prefix}mwl:se@cret@db/mwl"})
    assert settings.database.shown == "postgresql+psycopg://mwl:***@db/mwl"
    assert "cret" not in repr(settings)
    assert "cret" not in fault(tmp_path, "", MWL_DATABASE__URL="mysql://mwl:secret@db/mwl")
    assert "cret" not in fault(tmp_path, "", MWL_DATABASE__URL=f"{prefix}mwl:secret@db:cret/mwl")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("bridge", False),
    ],
)
def test_loopback_is_told_from_everything_else(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@given(st.text(max_size=20))
def test_ae_titles_are_accepted_only_as_dicom_defines_them(text: str) -> None:
    try:
        title = DeviceTable(ae_title=text).ae_title
    except ValueError:
        title = ""
    stripped = text.strip(" ")
    right = 1 <= len(stripped) <= 16 and stripped.isascii() and stripped.isprintable()
    assert title == (stripped if right and "\\" not in stripped else "")


def test_password_of_a_key_is_told_nobody(tmp_path: Path) -> None:
    assert "hunter2" not in fault(
        tmp_path, "[dicom.tls]\nkey_password = " + "'hunter2'" + "\nx = 1"
    )
    assert "4711" not in fault(tmp_path, "[dicom.tls]\nkey_password = 4711")
    text = "[dicom.tls]\ncertificate = 'c'\nkey_password = 'hunter2'"
    assert "hunter2" not in repr(load(written(tmp_path, text), {}))


@pytest.mark.parametrize("variable", ["MWL_DICOM__TLS", "MWL_DICOM"])
def test_variable_of_a_table_is_told_what_one_sets(tmp_path: Path, variable: str) -> None:
    assert fault(tmp_path, **{variable: "x"}).startswith(f"{variable}: is a table; a variable sets")
