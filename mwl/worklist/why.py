"""Why does a scanner not see an entry? Answered by the code that answers scanners.

Whether the scanner may ask is the doorkeeper's to say, and what hides the entry that of
`find`, one key at a time, for the query that such a scanner usually sends. What is written
here is only how that is told to people.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, select
from sqlmodel import Session

from mwl import devices
from mwl.config import Dicom
from mwl.db import Database, Prepared
from mwl.db.tables import ScheduledStep
from mwl.devices import Doorkeeper, Verdict
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import StepState
from mwl.worklist import asking
from mwl.worklist.find import hiding
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


@dataclass(frozen=True, slots=True)
class Hidden:
    """One thing that hides the entry: what, in words, and what helps."""

    by: Hides
    text: str
    remedy: str


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
    title = ae_title.strip(" ")
    if not 1 <= len(title) <= 16 or "\\" in title or not title.isprintable():
        text = "an AE title has 1 to 16 characters, no backslash"
        raise Rejected(Fault(Reason.MALFORMED, "device", text))
    with database.read() as session:
        device = devices.lookup(session, title)
        asker = asking.caller(session, device.ae_title if device else title)
        day = asking.today(now, zone)
        row, keys = _asked(session, step, asker, day, now)
    door = _at_the_door(database, dicom, asker.ae_title, known=device is not None)
    hidden = (*door, *_texts(row, keys, asker, day, now))
    return Why(asker.ae_title, device is not None, asker.modality or "", day, hidden)


def _asked(
    session: Session, step: int, asker: Caller, day: str, now: datetime
) -> tuple[Any, set[str]]:
    row = _READ.first(session.connection(), {"row": step})
    keys = hiding(session, asking.usual_query(asker, day), step, now=now)
    if row is None or keys is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "", "there is no such entry"))
    return row, keys


def _at_the_door(
    database: Database, dicom: Dicom, title: str, *, known: bool
) -> tuple[Hidden, ...]:
    doorkeeper = Doorkeeper(
        database, ae_title=dicom.ae_title, mode=dicom.admit, host=dicom.host
    )  # never started: it writes nothing
    if doorkeeper.admit(dicom.ae_title, title, "") is not Verdict.ADMITTED:
        text = f"no device {title} is registered, and strangers are not let in"
        return (Hidden(Hides.UNKNOWN, text, "Register the device."),)
    if not doorkeeper.allows(title, "worklist"):
        whose = "the device" if known else "a stranger"
        text = f"{whose} may not ask for worklists"
        return (Hidden(Hides.NOT_ALLOWED, text, "Allow “worklist” in the device's settings."),)
    return ()


def _texts(row: Any, keys: set[str], asker: Caller, day: str, now: datetime) -> list[Hidden]:
    """Put the keys that `find` names into words."""
    told = []
    if "status" in keys:
        told.append(_state(row, now))
    if "start" in keys:
        text = f"it is planned for {_date(row.start_local)}, and scanners ask for {_date(day)}"
        told.append(Hidden(Hides.DAY, text, "Edit the entry's start, or wait for its day."))
    if "modality" in keys:
        text = f"its modality is {row.modality}, and {asker.ae_title} asks for {asker.modality}"
        told.append(Hidden(Hides.MODALITY, text, "Edit the entry's modality, or the device's."))
    if "station_ae_titles" in keys:
        told.append(_station(row, asker))
    return told


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
        f"it is for any station of {row.modality}, and {asker.ae_title} is one of {asker.modality}"
    )
    return Hidden(Hides.STATION, text, "Edit the entry: give it a station.")


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}"
