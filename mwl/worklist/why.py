"""Why does a scanner not see an entry? Answered by the code that answers scanners.

Whether the scanner may ask is the doorkeeper's to say, and what hides the entry that of
`find`, one key at a time, for the query that such a scanner usually sends. What is written
here is only how that is told to people.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, select
from sqlmodel import Session

from mwl import devices
from mwl.config import DeviceTable, DeviceWorklist, Dicom
from mwl.db import Database, Prepared
from mwl.db.tables import ScheduledStep
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import StepState
from mwl.worklist import asking
from mwl.worklist.find import Query, first, hiding
from mwl.worklist.scope import STARTED_VISIBLE, Caller

_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_READ = Prepared(select(_STEP).where(_STEP.c.id == bindparam("row")))


class Hides(StrEnum):
    """What keeps a scanner from seeing an entry."""

    UNKNOWN = "unknown device"
    NOT_ALLOWED = "not allowed"
    EXPIRED = "expired"
    STATE = "state"
    STARTED = "started"
    DAY = "day"
    MODALITY = "modality"
    STATION = "station"
    # What is set of the device.
    OWN_STATION = "own station"
    MODALITIES = "modalities"
    LOCATIONS = "locations"
    HOURS_BACK = "hours back"
    HOURS_AHEAD = "hours ahead"
    HIDE = "hide"
    MAX_ANSWERS = "max answers"


@dataclass(frozen=True, slots=True)
class Hidden:
    """One thing that hides the entry: what, in words, and what helps."""

    by: Hides
    text: str
    remedy: str

    @property
    def is_set(self) -> bool:
        """Whether something that is set of the device hides it."""
        return self.by in _SETTINGS


@dataclass(frozen=True, slots=True)
class Why:
    """What a scanner that asks as usual is answered, as to one entry.

    `hidden` names all that hides it; nothing: the scanner is shown it. `modality` and `day`
    (YYYYMMDD) are what it asks by, beside its own AE title.
    """

    ae_title: str
    registered: bool
    modality: str
    day: str
    hidden: tuple[Hidden, ...] = ()

    @property
    def is_seen(self) -> bool:
        """Whether the scanner is shown the entry."""
        return not self.hidden


def why(  # noqa: PLR0913 - an entry, who asks whom, when and where
    database: Database,
    step: int,
    ae_title: str,
    *,
    dicom: Dicom,
    now: datetime,
    zone: ZoneInfo,
) -> Why:
    """Tell what hides a step from a device, by its AE title, or that nothing does.

    `dicom` are the settings of the server that it asks. Raises Rejected (UNKNOWN_KEY) where
    there is no such step, MALFORMED where no device has such a title; Outage.
    """
    title = titled(ae_title)
    with database.read() as session:
        device = asking.known(session, title)
        asked = _Asked.by(device, device.ae_title if device else title, now, zone)
        row, keys = asked.about(session, step)
    door = at_the_door(dicom, asked.title, device)
    hidden = (*door, *_texts(row, keys, asked))
    modality = (asked.caller.modality or "") if "modality" in asked.query.keys else ""
    return Why(asked.title, device is not None, modality, asked.day, hidden)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The query that a scanner usually sends on a day, YYYYMMDD; by now, on the site's clock."""

    title: str
    device: DeviceTable | None
    caller: Caller
    query: Query
    day: str
    now: datetime

    @classmethod
    def by(cls, device: DeviceTable | None, title: str, now: datetime, zone: ZoneInfo) -> "_Asked":
        there = (device and device.zone_info) or zone
        day = asking.today(now, there)
        caller = asking.caller(device, title, now=now, zone=zone)
        query = asking.usual_query(caller, day, device, zone)
        return cls(title, device, caller, query, day, now)

    @property
    def shown(self) -> DeviceWorklist:
        return self.device.worklist if self.device else DeviceWorklist()

    def about(self, session: Session, step: int) -> tuple[Any, set[str]]:
        """Read a step, and by what it is hidden."""
        row = _READ.first(session.connection(), {"row": step})
        keys = hiding(session, self.query, step, now=self.now)
        if row is None or keys is None:
            raise Rejected(Fault(Reason.UNKNOWN_KEY, "", "there is no such entry"))
        if not keys and self._is_crowded_out(session, step):
            keys = {"max_answers"}
        return row, keys

    def _is_crowded_out(self, session: Session, step: int) -> bool:
        most, is_cut = self.shown.max_answers, self.shown.beyond == "cut"
        if most is None:
            return False
        rows = first(session, self.query, now=self.now, most=most + (not is_cut))
        if is_cut:
            return step not in {row[-1] for row in rows}
        return len(rows) > most


def titled(ae_title: str) -> str:
    """Read what a device calls itself. Rejected: none can."""
    title = ae_title.strip(" ")
    if not 1 <= len(title) <= 16 or "\\" in title or not title.isprintable():
        text = "an AE title has 1 to 16 characters, no backslash"
        raise Rejected(Fault(Reason.MALFORMED, "device", text))
    return title


def at_the_door(dicom: Dicom, title: str, device: DeviceTable | None) -> tuple[Hidden, ...]:
    """Tell what keeps who calls itself so from asking for worklists at all."""
    if device is None and not devices.admits(dicom.admit, dicom.host, known=False):
        text = f"no device {title} is registered, and strangers are not let in"
        return (Hidden(Hides.UNKNOWN, text, "Register the device."),)
    if "worklist" not in (device.may if device else devices.strangers_may(dicom.host)):
        whose = "the device" if device else "a stranger"
        text = f"{whose} may not ask for worklists"
        return (Hidden(Hides.NOT_ALLOWED, text, "Allow “worklist” in the device's settings."),)
    return ()


def _texts(row: Any, keys: set[str], asked: _Asked) -> list[Hidden]:
    """Put into words what `find` names."""
    told = []
    if "status" in keys:
        told.append(_state(row, asked.now))
    if "start" in keys:
        text = (
            f"it is planned for {_date(row.start_local)}, and scanners ask for {_date(asked.day)}"
        )
        told.append(Hidden(Hides.DAY, text, "Edit the entry's start, or wait for its day."))
    if "modality" in keys:
        text = f"its modality is {row.modality}, and {asked.title} asks for {_modalities(asked)}"
        remedy = "Edit the entry's modality, or the device's; or let the device's stand for it."
        told.append(Hidden(Hides.MODALITY, text, remedy))
    if "station_ae_titles" in keys:
        told.append(_station(row, asked.caller))
    return told + [say(row, asked) for by, say in _SETTINGS.items() if _key(by) in keys]


def _key(by: Hides) -> str:
    """Name the setting as `find` does."""
    return by.name.lower()


def _modalities(asked: _Asked) -> str:
    return " and ".join(asked.caller.modalities)


def _of_its_own(row: Any, asked: _Asked) -> Hidden:
    stations = row.station_ae_titles.replace("\\", ", ") or f"any station of {row.modality}"
    text = f"it is for {stations}, and {asked.title} is shown its own stations' alone"
    remedy = "Put the entry on it as well, or add the station to the device's."
    return Hidden(Hides.OWN_STATION, text, remedy)


def _of_modalities(row: Any, asked: _Asked) -> Hidden:
    shown = ", ".join(asked.shown.modalities)
    text = f"its modality is {row.modality}, and {asked.title} is shown {shown} alone"
    return Hidden(Hides.MODALITIES, text, "Edit the entry's modality, or the device's list.")


def _of_locations(row: Any, asked: _Asked) -> Hidden:
    shown = ", ".join(asked.shown.locations)
    text = f"it is to be done at {row.location}, and {asked.title} is shown {shown} alone"
    return Hidden(Hides.LOCATIONS, text, "Edit the entry's location, or the device's list.")


def _too_early(row: Any, asked: _Asked) -> Hidden:
    text = f"it was due at {_minute(row.start_local)}, and {asked.title} is shown what was due"
    text += f" {asked.shown.hours_back:g} hours ago at most"
    return Hidden(Hides.HOURS_BACK, text, "Edit the entry's start, or the device's hours back.")


def _too_late(row: Any, asked: _Asked) -> Hidden:
    text = f"it is due at {_minute(row.start_local)}, and {asked.title} is shown what is due in"
    text += f" {asked.shown.hours_ahead:g} hours at most"
    return Hidden(Hides.HOURS_AHEAD, text, "Wait for it, or edit the device's hours ahead.")


def _hidden_state(row: Any, asked: _Asked) -> Hidden:
    text = f"it is {row.state}, and {asked.title} is set to show none of these"
    return Hidden(Hides.HIDE, text, "Edit what the device hides.")


def _crowded_out(row: Any, asked: _Asked) -> Hidden:  # noqa: ARG001 - the signature of all
    most = asked.shown.max_answers
    text = f"more than {most} match, and {asked.title} takes no more"
    if asked.shown.beyond == "refuse":
        text += ": its query fails"
    remedy = "Narrow what the device is shown, or raise its most answers."
    return Hidden(Hides.MAX_ANSWERS, text, remedy)


# By the settings of a device that hide an entry from it.
_SETTINGS: Final[Mapping[Hides, Callable[[Any, _Asked], Hidden]]] = {
    Hides.OWN_STATION: _of_its_own,
    Hides.MODALITIES: _of_modalities,
    Hides.LOCATIONS: _of_locations,
    Hides.HOURS_BACK: _too_early,
    Hides.HOURS_AHEAD: _too_late,
    Hides.HIDE: _hidden_state,
    Hides.MAX_ANSWERS: _crowded_out,
}


def _state(row: Any, now: datetime) -> Hidden:
    if row.expired:
        return Hidden(
            Hides.EXPIRED,
            "its order has expired: it was never begun, and its day is long past",
            "Reopen it; any message of the RIS about it does so too.",
        )
    if row.state == StepState.STARTED:
        hours, since = STARTED_VISIBLE // timedelta(hours=1), now - row.state_at
        text = f"it was begun {since // timedelta(hours=1)} hours ago: it stays for {hours}"
        return Hidden(Hides.STARTED, text, "Reopen it if it is to be done again.")
    remedy = {
        StepState.HELD: "The RIS releases it, or you reopen it.",
        StepState.CANCELED: "Reopen it if it is to be done after all.",
    }.get(row.state, "Reopen it if it is to be done again.")
    return Hidden(Hides.STATE, f"it is {row.state}, which scanners are not shown", remedy)


def _station(row: Any, asker: Caller) -> Hidden:
    if row.station_ae_titles:
        stations = row.station_ae_titles.replace("\\", ", ")
        text = f"it is for {stations}, and scanners ask for what is theirs"
        return Hidden(Hides.STATION, text, f"Edit the entry: put it on {asker.ae_title} as well.")
    text = (
        f"it is for any station of {row.modality}, and {asker.ae_title} is one of "
        f"{' and '.join(asker.modalities)}"
    )
    return Hidden(Hides.STATION, text, "Edit the entry: give it a station.")


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}"


def _minute(text: str) -> str:
    return f"{_date(text)} {text[8:10]}:{text[10:12]}"
