"""How a scanner asks for its worklist: who it is to us, what it means, what most of them send.

What is set of a device widens what it asks for, beside narrowing what it is shown (scope.py):

- A station key that names one of its own AE titles stands for all of them, and for the further
  stations that are its own: the RIS may know the scanner by another name than it calls by.
- A modality key stands for what the code is said to stand for here, itself included.

An answer tells what was asked for, as it must (PS3.4 C.2.2.2: an answer matches its keys), and
scanners that look at their answers again drop what does not: a step of DX that was found by CR
is told as CR, and one that is on another of its stations as on the title that it asked by,
else calls by. Where it asks for no modality, it is told the step's own; where it asks for one, it
is told that one of a step of which nobody named any.

Scanners ask by their modality, by their own AE title as the station, for today. Service
engineers may set them otherwise; what is usual is what people expect when they ask why a
scanner doesn't see a patient.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlmodel import Session

from mwl import devices, matching
from mwl.config import DeviceTable, DeviceWorklist
from mwl.devices import fold
from mwl.matching import UNIVERSAL, AnyOf, Matcher, Range, Single
from mwl.worklist.find import Query
from mwl.worklist.scope import Caller, Scope

STATION, MODALITY, START = "station_ae_titles", "modality", "start"
# The keys of a usual query by the keywords that a device's settings name them by.
_USUAL = {
    MODALITY: "Modality",
    STATION: "ScheduledStationAETitle",
    START: "ScheduledProcedureStepStartDate",
}
_PLAIN = DeviceWorklist()
_CODE = re.compile("[A-Z0-9_ ]{1,16}")  # PS3.5 6.2: a CS; what is asked by may be anything

Keys = Mapping[str, Matcher]
# By column: what is told instead of a value.
Instead = Mapping[str, Mapping[str, str]]


def known(session: Session, ae_title: str) -> DeviceTable | None:
    """Tell what is set of a device; None: a stranger."""
    row = devices.lookup(session, ae_title)
    return devices.table_of(row) if row else None


def caller(device: DeviceTable | None, ae_title: str, *, now: datetime, zone: ZoneInfo) -> Caller:
    """Tell who asks, and what it is shown at all; `zone` is the site's.

    `ae_title` is what it calls itself; a stranger that was let in may be any scanner.
    """
    if device is None:
        return Caller(ae_title)
    modality = device.modality or None
    also = _besides(device.worklist, device.modality)
    return Caller(ae_title, modality, also, _scope(device, now, zone))


def _scope(device: DeviceTable, now: datetime, zone: ZoneInfo) -> Scope:
    shown = device.worklist

    def clock(hours: float | None, direction: int) -> str:
        if hours is None:
            return ""
        return f"{(now + direction * timedelta(hours=hours)).astimezone(zone):%Y%m%d%H%M%S}"

    return Scope(
        tuple(sorted(_stations(device))) if shown.own_station else (),
        shown.modalities,
        shown.locations,
        clock(shown.hours_back, -1),
        clock(shown.hours_ahead, 1),
        shown.hide,
    )


def _stations(device: DeviceTable) -> set[str]:
    return {fold(title) for title in (*device.titles, *device.worklist.stations)}


def _besides(shown: DeviceWorklist, modality: str) -> tuple[str, ...]:
    """List what a modality code of the device's stands for, beside itself."""
    return tuple(code for code in shown.synonyms.get(modality, ()) if code != modality)


def meant(keys: Keys, device: DeviceTable | None) -> Keys:
    """Give what a device means by its keys."""
    if device is None:
        return keys
    titles = {fold(title) for title in device.titles}
    its = (*device.titles, *device.worklist.stations)

    def stations(title: str) -> tuple[str, ...]:
        return its if fold(title) in titles else ()

    def codes(code: str) -> tuple[str, ...]:
        return _besides(device.worklist, code)

    wider: dict[str, Matcher] = {}
    if STATION in keys and len(its) > 1:
        wider[STATION] = _widened(keys[STATION], stations)
    if MODALITY in keys and device.worklist.synonyms:
        wider[MODALITY] = _widened(keys[MODALITY], codes)
    return {**keys, **wider}


def instead(keys: Keys, device: DeviceTable | None, calling: str) -> Instead:
    """Tell what an answer to these keys shows instead of a station or modality of the step.

    For "", what it shows where the step has none.
    """
    codes = _singles(keys.get(MODALITY, UNIVERSAL))
    code = next(filter(_CODE.fullmatch, codes), None)
    unnamed = {} if code is None else {"": code}
    if device is None:
        return {MODALITY: unnamed}
    titles = {fold(title) for title in device.titles}
    asked = _singles(keys.get(STATION, UNIVERSAL))
    shown = next((title for title in asked if fold(title) in titles), calling)
    others = (*device.titles, *device.worklist.stations)
    return {
        # An unassigned step is the asker's to do.
        STATION: {title: shown for title in ("", *others) if title not in (shown, *asked)},
        MODALITY: unnamed
        | {
            other: code
            for code in reversed(codes)  # the first that finds it tells it
            for other in _besides(device.worklist, code)
            if other not in codes
        },
    }


def _singles(key: Matcher) -> list[str]:
    """List the values that a key names as they are."""
    choices = key.choices if isinstance(key, AnyOf) else (key,)
    return [each.value for each in choices if isinstance(each, Single)]


def _widened(key: Matcher, more: Callable[[str], Iterable[str]]) -> Matcher:
    values = _singles(key)
    found = [other for value in values for other in more(value) if other not in values]
    if not found:
        return key
    choices = key.choices if isinstance(key, AnyOf) else (Single(values[0]),)
    return AnyOf((*choices, *map(Single, dict.fromkeys(found))))


def today(now: datetime, zone: ZoneInfo) -> str:
    """Tell the date, YYYYMMDD, that a wall clock shows."""
    return now.astimezone(zone).strftime("%Y%m%d")


def usual_query(
    asker: Caller, day: str = "", device: DeviceTable | None = None, zone: ZoneInfo | None = None
) -> Query:
    """Make the query that a scanner is expected to send for a day, YYYYMMDD; "": for any.

    As it is meant: by what is set of the `device`, its zone for one beside that of the site.
    """
    keys: Keys = {
        MODALITY: matching.text(asker.modality or "", _USUAL[MODALITY]),
        STATION: matching.text(asker.ae_title, _USUAL[STATION], wildcards=False),
        START: matching.start(matching.dates(day, _USUAL[START]), UNIVERSAL).instant,
    }
    shown = device.worklist if device else _PLAIN
    keys = {name: key for name, key in keys.items() if _USUAL[name] not in shown.ignore}
    start, there = keys.get(START, UNIVERSAL), device.zone_info if device else None
    if isinstance(start, Range) and there is not None and zone is not None:
        keys = {**keys, START: matching.elsewhere(start, there, zone)}
    return Query(keys=meant(keys, device), caller=asker)
