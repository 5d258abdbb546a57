"""Keep a folder of worklist files, as DCMTK's wlmscpfs and Orthanc's plugin serve them.

A file is written beside its place, put on disk (disk.py), and moved there: whoever reads the folder
finds the old one or the new one, whole, also after the power was cut. What has left the list is
removed, if it has a name of ours; what others keep in the folder is theirs. One at a time keeps a
folder.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

from mwl.config import DeviceCharacters, DeviceTable
from mwl.db import Database
from mwl.errors import Fault, Outage, Reason, Rejected
from mwl.scp.answers import Asker
from mwl.scp.attributes import tag_of
from mwl.wlfiles import disk
from mwl.wlfiles.writing import FileWriter
from mwl.worklist import asking
from mwl.worklist.find import Query, pages

Format = Literal["wlmscpfs", "orthanc"]

_OURS = re.compile(r"mwl-[0-9a-f]{32}\.wl")
_LOCKFILE = "lockfile"
# A server that answers a query holds it that long; a reader that hangs shall not stop us.
_LOCK_WAIT_S: Final = 5.0
_LOCK_LOOK_S: Final = 0.02
_TURN = ".mwl-export.lock"


@dataclass(frozen=True, slots=True)
class Target:
    """A folder, and what is kept there.

    `title` is what scanners call the server by; wlmscpfs keeps a folder for each. `device`: as
    that one would see the list. `charset`: a Specific Character Set that all are written in, as
    far as it can say them.
    """

    folder: Path
    title: str
    format: Format = "wlmscpfs"
    device: str = ""
    charset: str = ""


@dataclass(slots=True)
class Exported:
    """How many files were written, were as they should be, and were removed."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0


class Exporter:
    """Keeps a folder; it remembers what it has written, so that nothing is made in vain."""

    def __init__(self, database: Database, target: Target, zone: ZoneInfo) -> None:
        """Keep `target`; `zone` is the site's."""
        self._database, self._target, self._zone = database, target, zone
        self._asker: Asker | None = None
        self._known: dict[str, int] = {}  # by name, a hash of what the item says

    def run(self, now: datetime) -> Exported:
        """Bring the folder up to date with the worklist as scanners would be shown it.

        Rejected: the device is unknown, the title no name of a folder. Outage: the database,
        or the folder, can't be read or written, or somebody else keeps it just now; nothing is
        removed then.
        """
        folder, done = _place(self._target), Exported()
        held = _locked if self._target.format == "wlmscpfs" else nullcontext
        with _outages(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                # Until it has come to its end, nobody knows what there is.
                known, self._known = self._known, {}
                listed = self._write(folder, known, done, now)
                with held(folder):
                    for name in _ours(folder) - listed.keys():
                        (folder / name).unlink(missing_ok=True)
                        done.removed += 1
                if done.written or done.removed:
                    disk.sync_names(folder)
                self._known = listed
        return done

    def _write(
        self, folder: Path, known: dict[str, int], done: Exported, now: datetime
    ) -> dict[str, int]:
        """Write what is new; give all that is listed."""
        target = self._target
        device = _device(self._database, target.device) if target.device else None
        asker = _asker(target, device, self._zone)
        if asker != self._asker:
            known, self._asker = {}, asker
        writer, there = FileWriter(asker), _ours(folder)
        listed: dict[str, int] = {}
        caller = asking.caller(device, target.device, now=now, zone=self._zone)
        with disk.Batch(folder) as batch:
            for rows in pages(self._database, Query(writer.columns, {}, caller), now=now):
                for row in rows:
                    name, said = writer.name(row), hash(tuple(row))
                    listed[name] = said
                    if name in there and known.get(name) == said:
                        continue
                    file = writer.write(row)
                    if not _is_there(folder / name, file.data):
                        batch.put(name, file.data)
        done.written = batch.count
        done.unchanged = len(listed) - batch.count
        return listed


def export_folder(database: Database, target: Target, *, now: datetime, zone: ZoneInfo) -> Exported:
    """Bring a folder up to date once, as `Exporter.run` does."""
    return Exporter(database, target, zone).run(now)


def _device(database: Database, ae_title: str) -> DeviceTable:
    with database.read() as session:
        device = asking.known(session, ae_title)
    if device is None:
        text = f"there is no device {ae_title} (`mwl device list` shows them)"
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "device", text))
    return device


def _asker(target: Target, device: DeviceTable | None, zone: ZoneInfo) -> Asker:
    """Make who is answered by the files: any scanner, or a device as it asks for all."""
    # wlmscpfs leaves out what has no station; Orthanc doesn't.
    title = target.device or (target.title if target.format == "wlmscpfs" else "")
    sets = (target.charset,) if target.charset else ()
    asker = Asker(title, True, (), zone, characters=DeviceCharacters(sets=sets))
    if device is None:
        return asker
    instead = asking.instead({}, device, title)
    return replace(
        asker,
        offset=device.zone_info,
        characters=asker.characters if sets else device.characters,
        defaults={
            tag: value
            for keyword, value in device.worklist.defaults.items()
            if (tag := tag_of(keyword)) is not None
        },
        instead=instead,
    )


def _place(target: Target) -> Path:
    if target.format == "orthanc":
        return target.folder
    if "/" in target.title or set(target.title) <= {"."}:
        text = f"{target.title!r} can't be the name of a folder"
        raise Rejected(Fault(Reason.MALFORMED, "ae_title", text))
    return target.folder / target.title


def _is_there(place: Path, data: bytes) -> bool:
    with suppress(FileNotFoundError):
        return place.stat().st_size == len(data) and place.read_bytes() == data
    return False


def _ours(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if _OURS.fullmatch(name)}  # noqa: PTH208 - names


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others out that would keep the folder, too: they'd remove what we are writing."""
    with (folder / _TURN).open("ab") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Outage(f"{folder}: another export keeps it just now") from None
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock that wlmscpfs takes while it answers; it serves no folder without one."""
    with (folder / _LOCKFILE).open("ab") as lock:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_LOOK_S)
            else:
                break
        yield  # and lets go of it as it closes the file


@contextmanager
def _outages(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise Outage(f"{error.filename or folder}: {what}") from error
