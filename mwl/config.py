"""Settings: a TOML file, overridden by the environment, checked before anything starts.

The file is `--config FILE`, else `MWL_CONFIG`, else the shipped `config/mwl.toml`, which
holds every key with its default. A variable `MWL_SECTION__KEY` overrides one key. Whatever
is wrong raises ConfigError: one line that names the file or the variable, and the key.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from mwl.errors import ConfigError

_HERE = Path(__file__).parent
_MAX_FILE_BYTES = 1_000_000
_POSTGRESQL = "postgresql+psycopg://"


def shipped(relative: str) -> Path:
    """Find a file of `config/`, in a checkout or in an installed wheel."""
    # Only a wheel has the first; beside one, in site-packages, "config" is somebody else's.
    packed = _HERE / "_config"
    return (packed if packed.is_dir() else _HERE.parent / "config") / relative


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what is bound to `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ae_title(value: str) -> str:
    # PS3.5 6.2, AE: up to 16 characters of the default repertoire, no backslash, no
    # control characters; spaces at the ends mean nothing and spaces alone are no title.
    title = value.strip(" ")
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", title):
        raise ValueError("an AE title has 1 to 16 ASCII characters and no backslash")
    return title


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no such time zone; write an IANA name like Europe/Berlin") from None
    return value


def _database_url(value: str) -> str:
    # Programs that aren't Python call the same thing postgres:// or postgresql://.
    value = re.sub(r"^postgres(ql)?://", _POSTGRESQL, value)
    if not re.match(r"sqlite:///.|" + re.escape(_POSTGRESQL) + r".", value):
        raise ValueError("must start with sqlite:///PATH or postgresql+psycopg://")
    if value.startswith(_POSTGRESQL):
        _check_postgresql(value)
    return value


def _check_postgresql(value: str) -> None:
    # Read as the engine will; who keeps everything in SQLite needn't wait for the import.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(value)
        url.get_dialect()().create_connect_args(url)
    except (ValueError, ArgumentError):
        # What they say may quote the password.
        raise ValueError(
            f"must be written {_POSTGRESQL}USER:PASSWORD@HOST:PORT/DATABASE, the port a number"
        ) from None


def _host(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:_-]{1,253}", value):
        raise ValueError("must be an IP address or a host name")
    return value


def _objects(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("must name a folder, or a bucket as s3://NAME/PREFIX")
    scheme, separator, rest = value.partition("://")
    if separator and (scheme not in {"s3", "gs", "az"} or not rest.strip("/")):
        raise ValueError("must name a folder, or a bucket as s3://NAME/PREFIX")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic's contract
    return value


AeTitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, AfterValidator(_host)]
Count = Annotated[int, BeforeValidator(_number)]
Time = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
ListenPort = Annotated[Count, Field(ge=0, le=65535)]  # 0 takes a free one
PeerPort = Annotated[Count, Field(ge=1, le=65535)]
Processes = Annotated[Count, Field(ge=1, le=64)]
Name = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$")]
May = Literal["worklist", "mpps", "store", "commit", "query", "retrieve"]
Event = Literal["IP", "CM", "DC", "CLOSED"]
Bytes = Annotated[Count, Field(ge=1)]
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]


def _folder(value: Any) -> Any:
    # "" would be the directory that the program happens to be started in.
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("must name a folder")
    return value


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(_Table):
    url: Annotated[str, AfterValidator(_database_url)] = Field("sqlite:///mwl.db", repr=False)

    @property
    def shown(self) -> str:
        """The URL for people: without a password."""
        return re.sub(r"//([^:/@]*):.*@", r"//\1:***@", self.url)


class Dicom(_Table):
    host: Host = "127.0.0.1"
    port: ListenPort = 11112
    ae_title: AeTitle = "MWL"
    processes: Processes = 1
    admit: Literal["auto", "any", "known"] = "auto"
    max_associations: Count = Field(default=200, ge=1, le=10_000)
    associate_timeout_s: Time = Field(default=30, gt=0, le=3600)
    idle_timeout_s: Time = Field(default=600, gt=0, le=86_400)


class Destination(_Table):
    """A system that is told what becomes of orders.

    `sources` are the feeds (MSH-3^MSH-4 of their messages) whose orders it is told of; none:
    all. `message` is what it is told by; `events` which ones.
    """

    name: Name
    host: Host
    port: PeerPort
    message: Literal["ORM^O01", "OMG^O19", "OMI^O23", "ORU^R01"] = "ORM^O01"
    version: Literal["2.3", "2.3.1", "2.4", "2.5", "2.5.1"] = "2.5.1"
    events: tuple[Event, ...] = ("IP", "CM", "DC")
    sources: tuple[str, ...] = ()
    application: Annotated[str, StringConstraints(max_length=180)] = ""
    facility: Annotated[str, StringConstraints(max_length=180)] = ""
    charset: Annotated[str, StringConstraints(max_length=40)] = "UNICODE UTF-8"
    ack_timeout_s: Time = Field(default=30, gt=0, le=600)

    @model_validator(mode="after")
    def _message_is_of_its_version(self) -> Self:
        since = {"OMG^O19": "2.4", "OMI^O23": "2.5"}.get(self.message, "")
        if self.version < since:
            raise ValueError(f"version: {self.message} came with {since}, after {self.version}")
        return self


class Hl7(_Table):
    host: Host = "127.0.0.1"
    port: ListenPort = 2575
    profile: Name = "default"
    max_connections: Count = Field(default=256, ge=1, le=10_000)
    max_message_bytes: Count = Field(default=10 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    idle_timeout_s: Time = Field(default=3600, gt=0, le=604_800)
    ack_timeout_s: Time = Field(default=20, gt=0, le=600)
    destination: tuple[Destination, ...] = Field(default=(), max_length=100)


class Web(_Table):
    host: Host = "127.0.0.1"
    port: ListenPort = 8080
    processes: Processes = 1
    idle_min: Time = Field(default=30, gt=0, le=1_440)
    session_h: Time = Field(default=12, gt=0, le=168)
    behind_tls: bool = False


class Site(_Table):
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"

    @property
    def zone_info(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


class Commit(_Table):
    wait_min: Time = Field(default=60, ge=0, le=10_080)


class Mpps(_Table):
    stuck_h: Time = Field(default=12, gt=0, le=8_760)


class Close(_Table):
    """How orders end (REFERENCE in `mwl.performed`)."""

    images: Literal["here", "elsewhere"] = "here"
    ask_h: Time = Field(default=24, gt=0, le=8_760)
    quiet_min: Time = Field(default=120, gt=0, le=100_000)
    expire_days: Time = Field(default=30, gt=0, le=36_500)


class Archive(_Table):
    """Where images are kept: a folder, or a bucket s3://NAME/PREFIX (gs://, az://)."""

    objects: Annotated[str, AfterValidator(_objects)] = "objects"
    min_free_bytes: Annotated[Count, Field(ge=0)] = 1024 * 1024 * 1024
    max_instance_bytes: Bytes = 8 * 1024 * 1024 * 1024
    private_classes: tuple[Uid, ...] = ()
    # Of a bucket; empty ones are taken from the environment, as its own tools do.
    endpoint: str = ""
    region: str = ""
    access_key_id: str = Field("", repr=False)
    secret_access_key: str = Field("", repr=False)


class Log(_Table):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class DeviceTable(_Table):
    """A scanner or other DICOM peer; `may` says what it is let do beyond C-ECHO."""

    ae_title: AeTitle
    host: Host | None = None
    port: PeerPort | None = None
    modality: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_ ]{0,16}$")] = ""
    station_name: Annotated[str, StringConstraints(max_length=16)] = ""  # SH
    location: Annotated[str, StringConstraints(max_length=16)] = ""  # SH
    may: tuple[May, ...] = ("worklist", "mpps", "store", "commit")
    mpps: bool = True
    commit_report: Literal["new", "same"] = "new"
    tls: bool = False
    certificate: Annotated[str, StringConstraints(max_length=256)] = ""


class Settings(_Table):
    """Every setting."""

    data_dir: Annotated[Path, BeforeValidator(_folder)] = Path("data")
    database: Database = Database()
    dicom: Dicom = Dicom()
    hl7: Hl7 = Hl7()
    web: Web = Web()
    site: Site = Site()
    archive: Archive = Archive()
    mpps: Mpps = Mpps()
    close: Close = Close()
    commit: Commit = Commit()
    log: Log = Log()
    device: tuple[DeviceTable, ...] = Field(default=(), max_length=10_000)
    _origin: Path | None = PrivateAttr(None)

    def model_post_init(self, context: Any) -> None:
        self._origin = context

    @property
    def origin(self) -> Path | None:
        """The file that was read; None: made in code."""
        return self._origin

    @model_validator(mode="after")
    def _device_titles_differ(self) -> Self:
        _refuse_twice("device", "ae_title", (each.ae_title.upper() for each in self.device))
        _refuse_twice("hl7.destination", "name", (each.name for each in self.hl7.destination))
        return self


def _refuse_twice(table: str, key: str, values: Any) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"[[{table}]] {key}: {value!r} is there twice")
        seen.add(value)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings; ConfigError has one line that names what is wrong."""
    file = path or Path(environ.get("MWL_CONFIG") or shipped("mwl.toml"))
    document = _read(file)
    variables = _overrides(environ)
    for (*sections, key), variable in variables.items():
        table = document
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{file}: {section}: must be a table, written [{section}]")
        table[key] = variable.value
    try:
        return Settings.model_validate(document, context=file)
    except ValidationError as error:
        raise ConfigError(_line(error.errors()[0], file, variables)) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(f"{file}: longer than {_MAX_FILE_BYTES} bytes: no settings file")
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}: not UTF-8 (at line {line})") from None
    except tomllib.TOMLDecodeError as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{file}: not TOML: {text}") from None


_Place = tuple[str, ...]


class _Variable(NamedTuple):
    name: str
    value: str


def _known_places() -> dict[str, _Place]:
    """List what a variable can set, by its name: every key that is no list of tables."""
    places: dict[str, _Place] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, _Table):
            for key, inner in type(field.default).model_fields.items():
                if inner.default != ():
                    places[f"MWL_{name}__{key}".upper()] = (name, key)
        elif field.default != ():
            places[f"MWL_{name}".upper()] = (name,)
    return places


def _overrides(environ: Mapping[str, str]) -> dict[_Place, _Variable]:
    """Pick our variables, by the place in the settings that they override.

    Names with a double underscore are ours; others that start with MWL_ may be somebody
    else's (an orchestrator's for a service called mwl), unless they are one of ours misspelt.
    """
    known = _known_places()
    tables = {f"MWL_{name}".upper() for name in Settings.model_fields} - known.keys()
    squeezed = {name.replace("_", ""): name for name in known}
    found: dict[_Place, _Variable] = {}
    for name, value in environ.items():
        if name in known:
            found[known[name]] = _Variable(name, value)
        elif name in tables:
            key = next((each for each in known if each.startswith(f"{name}__")), None)
            hint = f"; a variable sets one key of it, like {key}" if key else " of the file alone"
            raise ConfigError(f"{name}: is a table{hint}")
        elif name.startswith("MWL_") and name != "MWL_CONFIG":
            meant = squeezed.get(name.upper().replace("_", ""))
            if meant is None and "__" in name:
                meant = next(iter(difflib.get_close_matches(name.upper(), known, 1)), None)
            if meant or "__" in name:
                hint = f"; did you mean {meant}?" if meant else ""
                raise ConfigError(f"{name}: no such setting in the environment{hint}")
    return found


def _line(error: ErrorDetails, file: Path, variables: Mapping[_Place, _Variable]) -> str:
    """Say in one line where the first fault is, what it is, and what would be right."""
    place = error["loc"]
    names = tuple(str(part) for part in place)
    key = _dotted(place)
    where = f"{variables[names].name}: {key}" if names in variables else f"{file}: {key}"
    if not key:
        where = str(file)
    return f"{where}: {_text(error, names)}"


def describe(error: ErrorDetails) -> str:
    """Say what is wrong with a value, and quote it."""
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    text = text[0].lower() + text[1:]
    value = error["input"]
    return f"{text}, not {str(value)[:80]!r}" if isinstance(value, str | int | float) else text


def _dotted(place: tuple[int | str, ...]) -> str:
    """Write a place as people count: `device[2].port`."""
    text = ""
    for part in place:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _text(error: ErrorDetails, names: _Place) -> str:
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(names[-1], _siblings(names[:-1]), 1)
        return "no such setting" + (f"; did you mean {close[0]}?" if close else "")
    if error["type"] == "missing":
        return "is missing"
    if error["type"] in {"model_type", "tuple_type"}:
        return _structure(error)
    # A database URL may hold a password.
    return describe({**error, "input": None} if names == ("database", "url") else error)


def _structure(error: ErrorDetails) -> str:
    """Say how a table, or a list of them, is written in TOML."""
    *sections, last = error["loc"]
    if last == "may":
        return 'must be a list, like ["worklist"]'
    if isinstance(last, int):
        return f"must be a table, written [[{_dotted(tuple(sections))}]]"
    if error["type"] == "tuple_type":
        return f"must be a list of tables, each written [[{_dotted(error['loc'])}]]"
    return f"must be a table, written [{last}]"


def _siblings(place: _Place) -> list[str]:
    fields = Settings.model_fields
    if not place:
        return list(fields)
    if place[0] == "device":
        return list(DeviceTable.model_fields)
    if place[:2] == ("hl7", "destination"):
        return list(Destination.model_fields)
    section = fields[place[0]].default
    return list(type(section).model_fields) if isinstance(section, _Table) else []
