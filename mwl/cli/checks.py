"""What `mwl check` looks at: each function yields what it found."""

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Literal

from sqlmodel import Session

from mwl import devices, journal, packages
from mwl.cli.finding import Finding
from mwl.cli.receivers import receivers
from mwl.config import Archive, Settings, Tls, is_loopback
from mwl.db import Database, reusable_bytes
from mwl.db.migrate import REVISION, revision_matches
from mwl.db.tables import Device
from mwl.errors import ConfigError, MwlError, Outage
from mwl.listeners import Listeners, Place, doubled, needed, places
from mwl.roles.secured import hl7_keys_of, keys_of
from mwl.tls import Keys

_LITTLE_SPACE = 5 * 2**30
_NO_SPACE = 512 * 2**20
_PROBE_S = 3.0
_MOST_NAMES = 5  # of devices in one line
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


def findings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at everything; a fault in one thing does not keep the others from being seen."""
    yield _settings(settings, environ)
    yield _packages()
    yield _profile(settings)
    yield _zone(settings)
    yield from _kept(settings)
    yield from _clock()
    yield from _data_dir(settings.data_dir)
    yield _archive(settings)
    yield from _exports(settings)
    yield from _database(settings)
    yield from _ports(settings)
    yield from _exposure(settings)
    yield from _certificates(settings)
    yield from receivers(settings)


def _settings(settings: Settings, environ: Mapping[str, str]) -> Finding:
    count = sum(name.startswith("MWL_") and name != "MWL_CONFIG" for name in environ)
    text = f"{settings.origin}" + (f", {count} overridden by the environment" if count else "")
    return Finding("ok", "settings", text)


def _kept(settings: Settings) -> Iterator[Finding]:
    """Find messages that outlive their orders: applied again, they would make new ones."""
    orders, messages = settings.worklist.keep_days, settings.journal.keep_days
    if orders and not 0 < messages <= orders:
        text = (
            f"{orders:g} is less than journal.keep_days ({messages:g}; 0: for ever): "
            "a message that is applied again after its order has gone makes a new one"
        )
        yield Finding("warn", "worklist.keep_days", text)


def _packages() -> Finding:
    try:
        packages.check()
    except ConfigError as error:
        return Finding("fail", "packages", str(error))
    return Finding("ok", "packages", "hl7 and web are ours")


def _profile(settings: Settings) -> Finding:
    from mwl.roles.profiles import mapping_profiles

    try:
        names = mapping_profiles(settings).names
    except ConfigError as error:
        return Finding("fail", "hl7.profile", str(error))
    return Finding("ok", "hl7.profile", ", ".join(names))


def _zone(settings: Settings) -> Finding:
    zone = settings.site.zone
    now = f"{datetime.now(settings.site.zone_info):%Y-%m-%d %H:%M} there now"
    if zone == "UTC":
        return Finding("warn", "site.zone", f"UTC, {now}: set it unless the site lives by UTC")
    return Finding("ok", "site.zone", f"{zone}, {now}")


def _clock() -> Iterator[Finding]:
    now = datetime.now(UTC).timestamp()
    if now < Path(__file__).stat().st_mtime - 86_400:
        yield Finding("fail", "clock", "stands before this program was installed: set it")
    elif _is_unsynchronised():
        # IHE Consistent Time: orders and images of one patient are sorted by it.
        yield Finding("warn", "clock", "the system says that no time server keeps it (NTP)")
    else:
        yield Finding("ok", "clock", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")


def _is_unsynchronised() -> bool:
    if sys.platform != "linux":
        return False
    # A zeroed struct timex asks and sets nothing; 512 bytes are more than any has.
    return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) == _TIME_ERROR)


def _data_dir(path: Path) -> Iterator[Finding]:
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding("fail", "data_dir", f"{there} can't be written by this user")
        return
    if there != path:
        yield Finding("ok", "data_dir", f"{path.absolute()} is created at the first start")
    elif path.stat().st_mode & 0o077:
        yield Finding("warn", "data_dir", f"{path.absolute()} is open to others: chmod 700")
    else:
        yield Finding("ok", "data_dir", f"{path.absolute()}")
    free = shutil.disk_usage(there).free
    level: Literal["ok", "warn", "fail"] = "ok"
    if free < _LITTLE_SPACE:
        level = "fail" if free < _NO_SPACE else "warn"
    yield Finding(level, "disk", f"{free / 2**30:.1f} GiB free")


def _archive(settings: Settings) -> Finding:
    if "://" in settings.archive.objects:
        return _bucket(settings.archive)
    folder = settings.data_dir.absolute() / settings.archive.objects
    try:
        return _folder(folder, settings.archive.min_free_bytes)
    except OSError as error:
        return Finding("fail", "archive", f"{folder} can't be looked at: {error.strerror}")


def _exports(settings: Settings) -> Iterator[Finding]:
    """See that folders of worklist files can be kept."""
    for each in settings.worklist.export:
        folder = settings.data_dir.absolute() / each.folder
        try:
            there = next(path for path in (folder, *folder.parents) if path.exists())
            well = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        except OSError:
            there, well = folder, False
        if well:
            yield Finding("ok", "worklist.export", f"{folder}")
        else:
            text = f"{folder}: {there} is no folder that this user can write to"
            yield Finding("fail", "worklist.export", text)


def _bucket(archive: Archive) -> Finding:
    """Ask a bucket for what it holds; one that does not answer is waited for seconds only."""
    # Here, since who keeps images in a folder needs nothing of it.
    from mwl.objects.cloud import CloudStore

    try:
        bucket = CloudStore(archive)
        bucket.probe()
    except (Outage, ConfigError) as error:
        return Finding("fail", "archive", str(error))
    return Finding("ok", "archive", f"{bucket.place} answers, lists and lets read")


def _folder(folder: Path, floor: int) -> Finding:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        return Finding("fail", "archive", f"{there} is no folder: name one in archive.objects")
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        text = f"{there} can't be read and written by this user: change its owner or mode"
        return Finding("fail", "archive", text)
    free = shutil.disk_usage(there).free
    text = f"{folder}" + ("" if there == folder else " is created at the first image")
    space = f"{free / 2**30:.1f} GiB free, {floor / 2**30:.1f} stay so (archive.min_free_bytes)"
    if free <= floor:
        return Finding("fail", "archive", f"{text}: images are refused: {space}; make room")
    level: Literal["ok", "warn"] = "warn" if free - floor < _LITTLE_SPACE else "ok"
    return Finding(level, "archive", f"{text}: {space}")


def _database(settings: Settings) -> Iterator[Finding]:
    shown = settings.database.shown
    try:
        with closing(Database(settings.database.url, data_dir=settings.data_dir)) as database:
            if database.path is not None and not database.path.exists():
                yield Finding("ok", "database", f"{shown} is created at the first start")
                return
            if not revision_matches(database):
                text = f"{shown}: not at revision {REVISION}: `mwl serve` migrates it"
                yield Finding("warn", "database", text)
                return
            yield Finding("ok", "database", f"{shown}, revision {REVISION}")
            with database.read() as session:
                known = devices.listing(session)
                bound = [each.ae_title for each in known if each.certificate and each.may]
                unknown = _unregistered(session, settings)
                size = journal.size(session, now=datetime.now(UTC))
            text = " ".join(journal.outlook(size, settings.journal))
            if free := reusable_bytes(database):
                text += f" The file has {free / 2**20:,.0f} MiB free for what comes."
            yield Finding("ok", "journal", text)
    except (Outage, ConfigError) as error:
        yield Finding("fail", "database", f"{shown}: {error}")
        return
    if not known and not devices.admits(settings.dicom.admit, settings.dicom.host, known=False):
        text = "none is registered and only known ones are admitted: `mwl device add`"
        yield Finding("warn", "devices", text)
    if bound and not (settings.dicom.tls.port and settings.dicom.tls.client != "none"):
        text = (
            f"{', '.join(bound[:_MOST_NAMES])} can't associate: bound to a certificate, "
            'and none is asked for: set dicom.tls.port, and dicom.tls.client = "optional"'
        )
        yield Finding("warn", "devices", text)
    for title in sorted(unknown):
        text = f"no device {title} is registered, as which a folder is to be kept"
        yield Finding("warn", "worklist.export", text)
    yield from _keywords(known)
    yield from _shared(known)


def _unregistered(session: Session, settings: Settings) -> list[str]:
    """Name the devices that folders are to be kept for, and nobody knows."""
    named = {devices.fold(title) for each in settings.device for title in each.titles}
    wanted = {devices.fold(each.device) for each in settings.worklist.export if each.device}
    return [each for each in wanted - named if devices.lookup(session, each) is None]


def _keywords(known: Sequence[Device]) -> Iterator[Finding]:
    """Find what is set of devices by keywords that no attribute has: it would do nothing."""
    from mwl.scp.attributes import tag_of

    for each in known:
        named = {*each.worklist.get("defaults", ()), *each.worklist.get("ignore", ())}
        unknown = sorted(name for name in named if tag_of(name) is None)
        if unknown:
            text = f"{each.ae_title}: no attribute is called {', '.join(unknown[:_MOST_NAMES])}"
            yield Finding("warn", "devices", text)


def _shared(known: Sequence[Device]) -> Iterator[Finding]:
    """Find titles of two devices: the settings may give one what another was registered by."""
    owners: dict[str, str] = {}
    for each in known:
        for title in sorted(devices.titles(each)):
            owner = owners.setdefault(title, each.ae_title)
            if owner != each.ae_title:
                text = f"{title} is a title of {owner} and of {each.ae_title}: take it from one"
                yield Finding("warn", "devices", text)


def _ports(settings: Settings) -> Iterator[Finding]:
    served = _served(settings)
    known, earlier = places(settings), list[Place]()
    for name in needed(settings, ["dicom", "hl7", "web"]):
        role, subject, place = name.partition(".")[0], f"{name}.port", known[name]
        if fault := doubled(place, earlier):
            yield Finding("fail", subject, fault)
            continue
        earlier.append(place)
        try:
            Listeners(settings, [name]).close()
        except Outage as error:
            if served.get(role) == "ok":
                yield Finding("ok", subject, f"{place} is served by mwl")
            elif role in served:
                yield Finding("warn", subject, f"{place}: mwl has it and is not serving there")
            else:
                yield Finding("fail", subject, str(error).removeprefix(f"{place.port_key}: "))
        except MwlError as error:
            yield Finding("fail", subject, str(error))
        else:
            yield Finding("ok", subject, f"{place} is free")


def _served(settings: Settings) -> dict[str, str]:
    """Ask our own web port which roles are served; nothing if it is not ours."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web.host, settings.web.host)  # noqa: S104
    try:
        with closing(HTTPConnection(host, settings.web.port, timeout=_PROBE_S)) as connection:
            connection.request("GET", "/health/ready")
            parts = json.loads(connection.getresponse().read(65_536))["parts"]
            return {"web": "ok", **parts}
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return {}


def _exposure(settings: Settings) -> Iterator[Finding]:
    if settings.dicom.admit == "any" and not is_loopback(settings.dicom.host):
        text = f'"any" while listening on {settings.dicom.host}: every machine may read the list'
        yield Finding("warn", "dicom.admit", text)
    asked = settings.dicom.user_identity == "required"
    if asked and not settings.dicom.tls.port and not is_loopback(settings.dicom.host):
        text = '"required" without TLS: passwords cross the network as they are (dicom.tls.port)'
        yield Finding("warn", "dicom.user_identity", text)


def _certificates(settings: Settings) -> Iterator[Finding]:
    listened = any(each.tls for each in settings.hl7.listener)
    yield from _certificates_of("dicom.tls", settings, settings.dicom.tls, keys_of)
    yield from _certificates_of("hl7.tls", settings, settings.hl7.tls, hl7_keys_of, listened)


def _certificates_of(
    subject: str,
    settings: Settings,
    given: Tls,
    read: Callable[[Settings], Keys],
    is_further: bool = False,
) -> Iterator[Finding]:
    try:
        concerns = list(read(settings).concerns(datetime.now(UTC)))
    except ConfigError as error:
        yield Finding("fail", subject, str(error).removeprefix(f"{subject}."))
        return
    for text in concerns:
        yield Finding("warn", subject, text.removeprefix(f"{subject}."))
    key = settings.data_dir / (given.key or given.certificate)
    if given.certificate and key.stat().st_mode & 0o077:
        yield Finding("warn", subject, f"key: {key} can be read by others: chmod 600")
    if (given.port or is_further) and not concerns:
        asks = {"none": "none is asked for", "optional": "asked for", "required": "required"}
        text = f"certificate and key fit; of peers: {asks[given.client]}"
        yield Finding("ok", subject, text)
