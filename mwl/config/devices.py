"""A device: what it is, what it may do, what it is shown, and in which letters."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from mwl.config import values
from mwl.config.base import Table
from mwl.config.values import (
    AeTitle,
    Certificate,
    Count,
    Host,
    Keyword,
    May,
    Modality,
    ModalityOrNone,
    PeerPort,
    Time,
)

Short = Annotated[str, StringConstraints(min_length=1, max_length=16)]  # SH
CharacterSet = Annotated[
    str, StringConstraints(min_length=1, max_length=128), AfterValidator(values.dicom_charset)
]
Waiting = Literal["SCHEDULED", "ARRIVED", "READY", "STARTED", "DEPARTED"]
Tolerated = Literal[
    "dates",  # asks for days and times in other forms: 2030-01-02, 2030*, several, ends swapped
    "long-values",  # asks by values that no attribute of their VR can hold, read off an order
    "wildcards",  # asks by * and ? where a single value alone is matched
    "bare-names",  # asks for names by how they begin, and leaves the * out
    "open-sequences",  # does not end sequences and items that it has begun
    "ff01",  # takes the status FF01, that a key is not supported, for the end or a failure
    "empty-sequences",  # can't read sequences without an item: they are left out
    "undefined-lengths",  # can't read sequences and items of undefined length
]

_MOST = 64  # entries of any list of a device


class DeviceWorklist(Table):
    """What a device is shown of the worklist, whatever it asks for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    own_station: bool = False
    """It is shown the steps of its own stations, and unassigned ones, alone."""
    stations: tuple[AeTitle, ...] = Field(default=(), max_length=_MOST)
    """Further AE titles of stations whose steps are its own."""
    modalities: tuple[Modality, ...] = Field(default=(), max_length=_MOST)
    """It is shown the steps of these modalities alone; empty: of all."""
    locations: tuple[Short, ...] = Field(default=(), max_length=_MOST)
    """It is shown the steps at these locations, and at none, alone; empty: at all."""
    hours_back: Annotated[Time, Field(ge=0, le=87_600)] | None = None
    """How long ago a step may have been scheduled to start; none: no bound."""
    hours_ahead: Annotated[Time, Field(ge=0, le=87_600)] | None = None
    """How far ahead a step may be scheduled to start; none: no bound."""
    hide: tuple[Waiting, ...] = ()
    """States of steps that it is not shown."""
    max_answers: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    """How many answers it takes to one query; none: as many as the server gives."""
    beyond: Literal["refuse", "cut"] = "refuse"
    """After so many answers: refuse ends in A700, cut in success, as if there were no more."""
    synonyms: dict[Modality, tuple[Modality, ...]] = Field(default={}, max_length=_MOST)
    """What modality codes that it asks by stand for here, as CR for CR and DX."""
    defaults: dict[Keyword, Annotated[str, StringConstraints(max_length=1024)]] = Field(
        default={}, max_length=_MOST
    )
    """Values, by keyword, of return keys that would be empty."""
    ignore: tuple[Keyword, ...] = Field(default=(), max_length=_MOST)
    """Keywords of keys whose values are not looked at."""
    tolerates: tuple[Tolerated, ...] = ()
    """What it does wrong, or can't read, that is made up for; else it is answered as PS3 says."""


class DeviceCharacters(Table):
    """Which character sets a device reads."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    sets: tuple[CharacterSet, ...] = Field(default=(), max_length=16)
    """Specific Character Sets (0008,0005) that it reads, the best first; empty: as it asks.

    Several values of one are parted by backslashes."""
    beyond: Literal["transliterate", "utf-8"] = "transliterate"
    """What becomes of a text that none of them can say: Latin letters, or UTF-8 all the same."""
    assumed: Annotated[
        str, StringConstraints(max_length=128), AfterValidator(values.readable_characters)
    ] = ""
    """The set of its own texts, where it names none or a wrong one; also one of Windows'."""


class DeviceTable(Table):
    """A scanner or other DICOM peer; `may` says what it is let do beyond C-ECHO.

    `aliases` are further AE titles that it calls by. `zone` is its wall clock's, "" the site's.
    `close_images` is `close.images` for what is done on it, "" the site's.
    """

    ae_title: AeTitle
    aliases: tuple[AeTitle, ...] = Field(default=(), max_length=_MOST)
    host: Host | None = None
    port: PeerPort | None = None
    modality: ModalityOrNone = ""
    station_name: Annotated[str, StringConstraints(max_length=16)] = ""  # SH
    location: Annotated[str, StringConstraints(max_length=16)] = ""  # SH
    may: tuple[May, ...] = ("worklist", "mpps", "store", "commit")
    mpps: bool = True
    commit_report: Literal["new", "same"] = "new"
    tls: bool = False
    certificate: Certificate = ""
    zone: Annotated[str, AfterValidator(values.zone_or_none)] = ""
    close_images: Literal["", "here", "elsewhere"] = ""
    worklist: DeviceWorklist = DeviceWorklist()
    characters: DeviceCharacters = DeviceCharacters()

    @property
    def titles(self) -> tuple[str, ...]:
        """All AE titles that it calls by, its own first."""
        return (self.ae_title, *self.aliases)

    @property
    def zone_info(self) -> ZoneInfo | None:
        """The zone of its wall clock; None: the site's."""
        return ZoneInfo(self.zone) if self.zone else None


def shared_titles(devices: Iterable[DeviceTable]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Tell, by its place, of each title that stands there once more; case is ignored."""
    owners: dict[str, int] = {}
    for number, device in enumerate(devices):
        for index, title in enumerate(device.titles):
            within = ("aliases", index - 1) if index else ("ae_title",)
            known = title.upper() in owners
            owner = owners.setdefault(title.upper(), number)
            if known:
                whose = "of this device" if owner == number else f"of device[{owner + 1}]"
                yield ("device", number, *within), f"{title!r} is a title {whose} already"
