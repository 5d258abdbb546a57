"""Every setting with its default, in the tables of the file."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    StringConstraints,
    model_validator,
)

from mwl.config import values
from mwl.config.base import Table, dotted
from mwl.config.devices import DeviceTable, shared_titles
from mwl.config.values import (
    AeTitle,
    Bytes,
    Certificate,
    Count,
    Event,
    Hl7Version,
    Host,
    ListenPort,
    Name,
    NameOrNone,
    Pattern,
    PeerPort,
    Processes,
    Time,
    Uid,
)
from mwl.config.worklists import Worklist

Charset = Annotated[str, StringConstraints(max_length=40), AfterValidator(values.hl7_charset)]
Acknowledge = Literal["as_asked", "original"]
ImagesGo = Literal["here", "elsewhere"]


class Database(Table):
    url: Annotated[str, AfterValidator(values.database_url)] = Field("sqlite:///mwl.db", repr=False)

    @property
    def shown(self) -> str:
        """The URL for people: without a password."""
        return re.sub(r"//([^:/@]*):.*@", r"//\1:***@", self.url)


class Tls(Table):
    """A port over TLS, and the certificates that are shown and believed there and in calls.

    Paths of PEM files; a relative one starts at `data_dir`.
    """

    port: ListenPort = 0
    certificate: Annotated[str, AfterValidator(values.path)] = ""
    key: Annotated[str, AfterValidator(values.path)] = ""
    key_password: Annotated[str, StringConstraints(max_length=1024)] = Field("", repr=False)
    ca: Annotated[str, AfterValidator(values.path)] = ""
    client: Literal["none", "optional", "required"] = "none"

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.port and not self.certificate:
            raise ValueError("certificate: is missing: what speaks TLS on port has to show one")
        if self.key and not self.certificate:
            raise ValueError("certificate: is missing: key is the key of one")
        if self.client != "none" and not self.ca:
            raise ValueError(
                f"ca: is missing: client = {self.client!r} verifies certificates against it"
            )
        return self


class Dicom(Table):
    host: Host = "127.0.0.1"
    port: ListenPort = 11112
    ae_title: AeTitle = "MWL"
    processes: Processes = 1
    admit: Literal["auto", "any", "known"] = "auto"
    user_identity: Literal["off", "optional", "required"] = "optional"
    max_associations: Count = Field(default=200, ge=1, le=10_000)
    max_associations_per_address: Count = Field(default=100, ge=1, le=10_000)
    associate_timeout_s: Time = Field(default=30, gt=0, le=3600)
    idle_timeout_s: Time = Field(default=600, gt=0, le=86_400)
    tls: Tls = Tls()


class Destination(Table):
    """A system that is told what becomes of orders.

    `sources` are the feeds (MSH-3^MSH-4 of their messages) whose orders it is told of; none:
    all. `message` is what it is told by; `events` which ones.
    """

    name: Name
    host: Host
    port: PeerPort
    message: Literal["ORM^O01", "OMG^O19", "OMI^O23", "ORU^R01"] = "ORM^O01"
    version: Hl7Version = "2.5.1"
    events: Annotated[tuple[Event, ...], Field(min_length=1)] = ("IP", "CM", "DC", "CA")
    sources: tuple[str, ...] = ()
    application: Annotated[str, StringConstraints(max_length=180)] = ""
    facility: Annotated[str, StringConstraints(max_length=180)] = ""
    charset: Charset = "UNICODE UTF-8"
    ack_timeout_s: Time = Field(default=30, gt=0, le=600)
    tls: bool = False  # with the files of [hl7.tls]
    certificate: Certificate = ""

    @model_validator(mode="after")
    def _message_is_of_its_version(self) -> Self:
        since = {"OMG^O19": "2.4", "OMI^O23": "2.5"}.get(self.message, "")
        if self.version < since:
            raise ValueError(f"version: {self.message} came with {since}, after {self.version}")
        if self.message == "ORM^O01" and self.version >= "2.7":
            raise ValueError(f"version: ORM^O01 was withdrawn with 2.7: no {self.version} has it")
        return self


class Forward(Table):
    """A system that messages are forwarded to as they came, when they are accepted.

    `types` (MSH-9.1^MSH-9.2) and `sources` (MSH-3^MSH-4) are patterns with * and ?, `listeners`
    names, "" the first one; none: all. `application` and `facility` are what the system calls
    itself: written into MSH-5 and MSH-6, where they are given.
    """

    name: Name
    host: Host
    port: PeerPort
    types: Annotated[tuple[Pattern, ...], Field(max_length=100)] = ()
    sources: Annotated[tuple[Pattern, ...], Field(max_length=100)] = ()
    listeners: Annotated[tuple[NameOrNone, ...], Field(max_length=100)] = ()
    outcome: Literal["accepted", "applied"] = "accepted"
    application: Annotated[str, StringConstraints(max_length=180)] = ""
    facility: Annotated[str, StringConstraints(max_length=180)] = ""
    ack_timeout_s: Time = Field(default=30, gt=0, le=600)
    tls: bool = False  # with the files of [hl7.tls]
    certificate: Certificate = ""


class Listener(Table):
    """A further port that messages come in on; `profile` reads them, "" that of [hl7].

    `tls`: over TLS alone, with the files of [hl7.tls]. `acknowledge` as in [hl7].
    """

    name: Name
    port: ListenPort
    host: Host = "127.0.0.1"
    profile: NameOrNone = ""
    tls: bool = False
    acknowledge: Acknowledge | Literal[""] = ""


class Source(Table):
    """Whose messages another profile reads: MSH-3^MSH-4, * and ? stand for any characters."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    profile: Name
    listener: NameOrNone = ""  # on that one alone


class Hl7(Table):
    host: Host = "127.0.0.1"
    port: ListenPort = 2575
    profile: Name = "default"
    profiles: Annotated[str, StringConstraints(max_length=400)] = ""
    tls: Tls = Tls()
    acknowledge: Acknowledge = "as_asked"
    max_connections: Count = Field(default=256, ge=1, le=10_000)
    max_connections_per_address: Count = Field(default=64, ge=1, le=10_000)
    max_message_bytes: Count = Field(default=10 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    idle_timeout_s: Time = Field(default=3600, gt=0, le=604_800)
    message_timeout_s: Time = Field(default=30, gt=0, le=3600)
    ack_timeout_s: Time = Field(default=20, gt=0, le=600)
    outage: Literal["no_answer", "AR"] = "no_answer"
    listener: tuple[Listener, ...] = Field(default=(), max_length=100)
    source: tuple[Source, ...] = Field(default=(), max_length=1000)
    destination: tuple[Destination, ...] = Field(default=(), max_length=100)
    forward: tuple[Forward, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _listeners_over_tls_have_a_certificate(self) -> Self:
        over_tls = [each.name for each in self.listener if each.tls]
        if over_tls and not self.tls.certificate:
            raise ValueError(
                f"tls.certificate: is missing: the listener {over_tls[0]!r} speaks TLS "
                "and has to show one"
            )
        return self


class Journal(Table):
    """How long messages are kept, and how much they may take; 0: as long, as much as they do."""

    keep_days: Time = Field(default=90, ge=0, le=36_500)
    max_bytes: Annotated[Count, Field(ge=0)] = 20 * 1024 * 1024 * 1024


class Web(Table):
    host: Host = "127.0.0.1"
    port: ListenPort = 8080
    processes: Processes = 1
    idle_min: Time = Field(default=30, gt=0, le=1_440)
    session_h: Time = Field(default=12, gt=0, le=168)
    behind_tls: bool = False


class Site(Table):
    zone: Annotated[str, AfterValidator(values.zone)] = "UTC"

    @property
    def zone_info(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


class Commit(Table):
    wait_min: Time = Field(default=60, ge=0, le=10_080)


class MppsForward(Table):
    """Another PPS manager, which MPPS are forwarded to as they came, when they are accepted.

    `devices` are AE titles of scanners, patterns with * and ?; none: all. `calling` is whose
    title we call by: our own, or that of the scanner whose message it is.
    """

    name: Name
    ae_title: AeTitle
    host: Host
    port: PeerPort
    devices: Annotated[tuple[Pattern, ...], Field(max_length=100)] = ()
    calling: Literal["own", "scanner"] = "own"
    response_timeout_s: Time = Field(default=60, gt=0, le=600)
    tls: bool = False  # with the files of [dicom.tls]
    certificate: Certificate = ""


class Mpps(Table):
    stuck_h: Time = Field(default=12, gt=0, le=8_760)
    forward: tuple[MppsForward, ...] = Field(default=(), max_length=100)


class Close(Table):
    """How orders end (REFERENCE in `mwl.performed`)."""

    images: ImagesGo = "here"
    ask_h: Time = Field(default=24, gt=0, le=8_760)
    quiet_min: Time = Field(default=120, gt=0, le=100_000)
    expire_days: Time = Field(default=30, gt=0, le=36_500)

    def images_of(self, profile: str) -> ImagesGo:
        """Tell where the images go of an order that the mapping profile `profile` read."""
        del profile
        return self.images


class Archive(Table):
    """Where images are kept: a folder, or a bucket s3://NAME/PREFIX (gs://, az://)."""

    objects: Annotated[str, AfterValidator(values.objects)] = "objects"
    min_free_bytes: Annotated[Count, Field(ge=0)] = 1024 * 1024 * 1024
    max_instance_bytes: Bytes = 8 * 1024 * 1024 * 1024
    private_classes: tuple[Uid, ...] = ()
    # Of a bucket; empty ones are taken from the environment, as its own tools do.
    endpoint: str = ""
    region: str = ""
    access_key_id: str = Field("", repr=False)
    secret_access_key: str = Field("", repr=False)


class Log(Table):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(Table):
    """Every setting."""

    data_dir: Annotated[Path, BeforeValidator(values.folder)] = Path("data")
    database: Database = Database()
    dicom: Dicom = Dicom()
    hl7: Hl7 = Hl7()
    journal: Journal = Journal()
    web: Web = Web()
    site: Site = Site()
    archive: Archive = Archive()
    worklist: Worklist = Worklist()
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
        for place, text in shared_titles(self.device):
            raise ValueError(f"{dotted(place)}: {text}")
        _refuse_twice("hl7.destination", "name", (each.name for each in self.hl7.destination))
        # One list of deliveries shows them all.
        names = [each.name for each in self.hl7.destination]
        names += [each.name for each in self.hl7.forward]
        _refuse_twice("hl7.forward", "name", names, "[[hl7.destination]]")
        names += [each.name for each in self.mpps.forward]
        _refuse_twice("mpps.forward", "name", names, "[[hl7.destination]] and [[hl7.forward]]")
        _refuse_twice("hl7.listener", "name", (each.name for each in self.hl7.listener))
        listeners = {"", *(each.name for each in self.hl7.listener)}
        for number, each in enumerate(self.hl7.source, 1):
            if each.listener not in listeners:
                raise ValueError(f"hl7.source[{number}].listener: there is no {each.listener!r}")
        for number, forward in enumerate(self.hl7.forward, 1):
            if unknown := sorted(set(forward.listeners) - listeners):
                raise ValueError(f"hl7.forward[{number}].listeners: there is no {unknown[0]!r}")
        _refuse_twice("worklist.source", "name", (each.name for each in self.worklist.source))
        _refuse_twice("worklist.export", "folder", (each.folder for each in self.worklist.export))
        return self


def _refuse_twice(table: str, key: str, values: Any, others: str = "") -> None:
    """Refuse a value that is there twice; `others` are tables whose values are among these."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            included = f", {others} included" if others else ""
            raise ValueError(f"[[{table}]] {key}: {value!r} is there twice{included}")
        seen.add(value)
