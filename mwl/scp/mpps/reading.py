"""From the data set of an N-CREATE or N-SET to what the procedures service takes.

Each data set is read with its own Specific Character Set, and an item of a sequence with
its own if it has one (PS3.3 C.12.1.1.2).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from mwl import archive, dataset
from mwl.charsets import Texts
from mwl.dataset import Bounds, DataSet, Element
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN
from mwl.performed import (
    INCORRECT_WORKLIST_ENTRY,
    Created,
    Listed,
    Modified,
    PerformedState,
    Request,
)
from mwl.scp.attributes import vr_of
from mwl.scp.mpps import refusal, requirements, tags
from mwl.scp.mpps.refusal import Refused

# A study of tens of thousands of instances is listed with two elements for each.
BOUNDS: Final = Bounds(max_bytes=16 * 1024 * 1024, max_elements=200_000, max_depth=12)

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_DATE = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
_TIME = re.compile(r"([01][0-9]|2[0-3])(?::?([0-5][0-9])(?::?([0-5][0-9]|60)(\.[0-9]{0,6})?)?)?")
_LONGEST_UID = 64
_LONGEST_TEXT = 256  # of what we read; no value that keeps to its VR is longer


def read(data: bytes | None, transfer_syntax: str) -> DataSet:
    """Read a data set as it came. Raises Rejected (`mwl.dataset.read`)."""
    explicit = transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
    return dataset.read(data or b"", explicit=explicit, vr_of=vr_of, bounds=BOUNDS)


def is_uid(text: str) -> bool:
    """Tell whether this can be a UID (PS3.5 9.1); zeros that lead a component are common."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


class View:
    """A data set, or an item of one, with its texts decoded; `flags` gathers what is odd."""

    def __init__(self, data_set: DataSet, texts: Texts) -> None:
        self._data_set = data_set
        self._texts = texts.within(dataset.character_sets(data_set))
        self.flags = texts.flags

    def element(self, tag: int) -> Element | None:
        return self._data_set.get(tag)

    def text(self, tag: int) -> str:
        """Read a value, "" if it is absent or empty."""
        element = self._data_set.get(tag)
        if element is None or not element.value:
            return ""
        return self._texts.decode(element.value).replace("\0", "")[:_LONGEST_TEXT].strip(" ")

    def items(self, tag: int) -> "Iterator[View]":
        element = self._data_set.get(tag)
        for item in element.items if element is not None else ():
            yield View(item, self._texts)


def created(
    data: bytes | None, transfer_syntax: str, uid: str, ae_title: str, assumed: str = ""
) -> Created:
    """Read an N-CREATE; `assumed` is the character set that is set of who sent it.

    Raises Refused, Rejected.
    """
    data_set = read(data, transfer_syntax)
    view = View(data_set, Texts((), assumed))
    flags = requirements.check_create(data_set)
    if _state(view) is not PerformedState.IN_PROGRESS:
        # PS3.4 F.7.2.1.3: no other one is accepted.
        raise refusal.invalid(data_set[tags.STATUS], "is not IN PROGRESS")
    made = Created(
        sop_instance_uid=uid,
        ae_title=ae_title,
        transfer_syntax=transfer_syntax,
        data_set=data or b"",
        requests=_requests(view),
        station_ae_title=view.text(tags.STATION_AE_TITLE),
        modality=view.text(tags.MODALITY),
        patient_id=view.text(tags.PATIENT_ID),
        patient_id_issuer=_issuer(view),
        patient_name=view.text(tags.PATIENT_NAME),
        performed_step_id=view.text(tags.PERFORMED_STEP_ID),
        start_local=_moment(view, tags.START_DATE, tags.START_TIME) or "",
        end_local=_moment(view, tags.END_DATE, tags.END_TIME) or "",
        discontinuation=_discontinuation(view) or "",
        listed=tuple(_listed(view)),
    )
    # Flags come last: reading it all has told what is odd.
    return replace(made, flags=(*flags, *sorted(view.flags)))


def modified(  # noqa: PLR0913 - what makes one, between them
    data: bytes | None,
    transfer_syntax: str,
    uid: str,
    ae_title: str,
    earlier: Callable[[], DataSet],
    assumed: str = "",
) -> Modified:
    """Read an N-SET; `earlier` gives what was received before. Raises Refused, Rejected."""
    data_set = read(data, transfer_syntax)
    view = View(data_set, Texts((), assumed))
    flags = requirements.check_set(data_set)
    state = _state(view) if tags.STATUS in data_set else None
    if state not in {None, PerformedState.IN_PROGRESS}:
        flags += _check_end(data_set, earlier, completed=state is PerformedState.COMPLETED)
    made = Modified(
        sop_instance_uid=uid,
        ae_title=ae_title,
        transfer_syntax=transfer_syntax,
        data_set=data or b"",
        state=state,
        discontinuation=_discontinuation(view),
        end_local=_moment(view, tags.END_DATE, tags.END_TIME),
        listed=tuple(_listed(view)) if tags.PERFORMED_SERIES in data_set else None,
    )
    return replace(made, flags=(*flags, *sorted(view.flags)))


def _check_end(data_set: DataSet, earlier: Callable[[], DataSet], *, completed: bool) -> list[str]:
    try:
        flags = requirements.check_end(data_set, completed=completed)
        if not flags:
            return flags
    except Refused:
        pass  # it may have been said before
    return requirements.check_end({**earlier(), **data_set}, completed=completed)


def _state(view: View) -> PerformedState:
    element = view.element(tags.STATUS)
    assert element is not None
    text = view.text(tags.STATUS)
    if not text:
        raise refusal.empty([tags.STATUS])
    try:
        return PerformedState(text)
    except ValueError:
        raise refusal.invalid(element, "is no status of an MPPS") from None


def _requests(view: View) -> tuple[Request, ...]:
    found = []
    for item in view.items(tags.SCHEDULED_STEPS):
        uid = item.text(tags.STUDY_INSTANCE_UID)
        element = item.element(tags.STUDY_INSTANCE_UID)
        if element is not None and not is_uid(uid):
            raise refusal.invalid(element, "is no UID", tags.SCHEDULED_STEPS)
        sps_id, accession = item.text(tags.SCHEDULED_STEP_ID), item.text(tags.ACCESSION_NUMBER)
        found.append(Request(uid, sps_id, accession))
    return tuple(dict.fromkeys(found))


def _issuer(view: View) -> str:
    """Write the issuer of the Patient ID as a designator, `namespace^universal ID^type`."""
    parts = [view.text(tags.ISSUER_OF_PATIENT_ID)]
    for item in view.items(tags.ISSUER_QUALIFIERS):
        parts += [item.text(tags.UNIVERSAL_ENTITY_ID), item.text(tags.UNIVERSAL_ENTITY_ID_TYPE)]
        break
    return "^".join(parts).rstrip("^")


def _moment(view: View, date_tag: int, time_tag: int) -> str | None:
    """Read a date and a time as YYYYMMDDHHMMSS; None where the date is absent or empty."""
    date, time = view.element(date_tag), view.element(time_tag)
    if date is None or not view.text(date_tag):
        return None
    day = _day(view.text(date_tag))
    if day is None:
        raise refusal.invalid(date, "is no date")
    if time is None or not view.text(time_tag):
        return f"{day}000000"
    match = _TIME.fullmatch(view.text(time_tag))
    if match is None:
        raise refusal.invalid(time, "is no time")
    return day + "".join(part or "00" for part in match.groups()[:3])


@lru_cache(maxsize=64)
def _day(text: str) -> str | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    day = "".join(match.groups())
    try:
        datetime.strptime(day, "%Y%m%d")  # noqa: DTZ007 - a DA has no zone
    except ValueError:
        return None
    return day


def _discontinuation(view: View) -> str | None:
    """Read the reason as code^scheme^meaning; of several, the wrong worklist entry."""
    if view.element(tags.DISCONTINUATION) is None:
        return None
    found = [
        tuple(
            item.text(tag).replace("^", " ")
            for tag in (tags.CODE_VALUE, tags.CODING_SCHEME, tags.CODE_MEANING)
        )
        for item in view.items(tags.DISCONTINUATION)
    ]
    found.sort(key=lambda code: code[0] != INCORRECT_WORKLIST_ENTRY)
    return "^".join(found[0]) if found else ""


def _listed(view: View) -> Iterator[Listed]:
    within = tags.PERFORMED_SERIES
    for series in view.items(within):
        uid = _uid(series, tags.SERIES_INSTANCE_UID, within)
        for tag in (tags.REFERENCED_IMAGES, tags.REFERENCED_NON_IMAGES):
            for item in series.items(tag):
                sop_class = _uid(item, tags.REFERENCED_SOP_CLASS_UID, within, tag)
                instance = _uid(item, tags.REFERENCED_SOP_INSTANCE_UID, within, tag)
                if instance:
                    yield Listed(sop_class, instance, uid)


def _uid(view: View, tag: int, *within: int) -> str:
    """Read what names a series or an instance as the archive does; "" if it is not there."""
    text, element = view.text(tag), view.element(tag)
    if text and element is not None and not archive.is_uid(text):
        raise refusal.invalid(element, "is no UID", *within)
    return text
