"""What has to be in the data sets of an MPPS (PS3.4 table F.7.2-1).

What we can't go without is required: attributes of type 1, and for COMPLETED the end and
the series, with what names each series and instance: an order must not close over images
that nobody can name. An attribute of type 2 that is absent, a Protocol Name, and what a
DISCONTINUED step leaves out cost nobody anything: it is taken, and shown to a person.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from mwl.dataset import DataSet
from mwl.scp.mpps import refusal
from mwl.scp.mpps.tags import (
    END_DATE,
    END_TIME,
    MODALITY,
    PERFORMED_SERIES,
    PERFORMED_STEP_ID,
    PROTOCOL_NAME,
    REFERENCED_IMAGES,
    REFERENCED_NON_IMAGES,
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    SCHEDULED_STEPS,
    SERIES_INSTANCE_UID,
    START_DATE,
    START_TIME,
    STATION_AE_TITLE,
    STATUS,
    STUDY_INSTANCE_UID,
    shown,
)

_OF_CREATE = (
    MODALITY,
    STATION_AE_TITLE,
    START_DATE,
    START_TIME,
    STATUS,
    PERFORMED_STEP_ID,
    SCHEDULED_STEPS,
)
# Of type 2 on the level of the data set.
ASKED_OF_CREATE = (
    0x00081032,
    0x00081120,
    0x00100010,
    0x00100020,
    0x00100030,
    0x00100040,
    0x00200010,
    0x00400242,
    0x00400243,
    END_DATE,
    END_TIME,
    0x00400254,
    0x00400255,
    0x00400260,
    PERFORMED_SERIES,
)
_OF_END = (END_DATE, END_TIME)
_OF_SERIES = (SERIES_INSTANCE_UID,)
_OF_REFERENCE = (REFERENCED_SOP_CLASS_UID, REFERENCED_SOP_INSTANCE_UID)

# Attributes that N-SET must not state: they say whose the work is, and never change.
NOT_ALLOWED_IN_SET = frozenset(
    {
        0x00080060,
        0x00081120,
        0x00100010,
        0x00100020,
        0x00100021,
        0x00100024,
        0x00101002,
        0x00100030,
        0x00100040,
        0x00200010,
        0x00380010,
        STATION_AE_TITLE,
        0x00400242,
        0x00400243,
        START_DATE,
        START_TIME,
        PERFORMED_STEP_ID,
        SCHEDULED_STEPS,
    }
)


def check_create(data_set: DataSet) -> list[str]:
    """Return what an N-CREATE should have and has not. Raises Refused."""
    _require(data_set, _OF_CREATE)
    for item in data_set[SCHEDULED_STEPS].items:
        _require(item, (STUDY_INSTANCE_UID,))
    return _flags(tag for tag in ASKED_OF_CREATE if tag not in data_set)


def check_end(data_set: DataSet, *, completed: bool) -> list[str]:
    """Return what an MPPS that ends should have and has not. Raises Refused.

    `data_set` holds all that was received of it.
    """
    if completed:
        _require(data_set, _OF_END, PERFORMED_SERIES)
        for item, tags in _within_series(data_set):
            _require(item, tags)
    lacking = [tag for tag in (*_OF_END, PERFORMED_SERIES) if _is_empty(data_set, tag)]
    lacking += [
        tag
        for item, tags in _within_series(data_set)
        for tag in (*tags, *((PROTOCOL_NAME,) if tags is _OF_SERIES else ()))
        if _is_empty(item, tag)
    ]
    return _flags(dict.fromkeys(lacking))


def _within_series(data_set: DataSet) -> Iterator[tuple[DataSet, tuple[int, ...]]]:
    """Visit each series, and each instance listed in it, with what must name it."""
    for series in _items(data_set, PERFORMED_SERIES):
        yield series, _OF_SERIES
        for tag in (REFERENCED_IMAGES, REFERENCED_NON_IMAGES):
            for reference in _items(series, tag):
                yield reference, _OF_REFERENCE


def _items(data_set: DataSet, tag: int) -> Sequence[DataSet]:
    element = data_set.get(tag)
    return element.items if element is not None else ()


def check_set(data_set: Collection[int]) -> list[str]:
    """Return what is odd in an N-SET."""
    odd = [tag for tag in data_set if tag in NOT_ALLOWED_IN_SET]
    return [f"N-SET must not state {shown(tag)}: not taken" for tag in odd]


def _require(data_set: DataSet, tags: Iterable[int], *present: int) -> None:
    """Refuse what lacks `tags` or their values, or lacks those that need be but `present`."""
    tags = tuple(tags)
    absent = [tag for tag in (*tags, *present) if tag not in data_set]
    if absent:
        raise refusal.missing(absent)
    valueless = [tag for tag in tags if _is_empty(data_set, tag)]
    if valueless:
        raise refusal.empty(valueless)


def _is_empty(data_set: DataSet, tag: int) -> bool:
    element = data_set.get(tag)
    return element is None or not (element.value.strip(b"\0 ") or element.items)


def _flags(tags: Iterable[int]) -> list[str]:
    lacking = " ".join(map(shown, tags))
    return [f"the MPPS lacks {lacking}"] if lacking else []
