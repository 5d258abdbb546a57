"""Identifiers of the Query/Retrieve information models (PS3.4 C.6): what they ask for.

A search is hierarchical (C.4.1.2.1) unless relational queries were agreed on (C.4.1.2.2):
what lies above the level is named by its unique keys, one value each or a list. What else
lies above may be asked for and matched by, too: a row below knows it. A relational one needs
no unique keys above, and takes keys of any level.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timezone
from enum import Enum
from zoneinfo import ZoneInfo

from mwl import charsets, dataset, matching
from mwl.archive.query import UNIQUE_KEYS, Level
from mwl.dataset import DataSet, Element
from mwl.matching import UNIVERSAL, Matcher, Range, Single
from mwl.net.options import NONE, Options
from mwl.scp.attributes import SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET, Model, keyword_of
from mwl.scp.final import Mismatch
from mwl.scp.hierarchy import EVERYTHING, MODELS, OF_REQUESTS, REQUEST_ATTRIBUTES
from mwl.scp.keys import matchers
from mwl.scp.zones import offset_of, shift_keys

QUERY_RETRIEVE_LEVEL = 0x00080052
RETRIEVE_AE_TITLE = 0x00080054
INSTANCE_AVAILABILITY = 0x00080056
UNIQUE_TAGS: Mapping[Level, int] = {
    Level.PATIENT: 0x00100020,
    Level.STUDY: 0x0020000D,
    Level.SERIES: 0x0020000E,
    Level.IMAGE: 0x00080018,
}


class Root(Enum):
    """An information model: the levels that it has, the highest first."""

    PATIENT = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
    STUDY = (Level.STUDY, Level.SERIES, Level.IMAGE)
    PATIENT_STUDY_ONLY = (Level.PATIENT, Level.STUDY)  # retired in 2004, and still asked for

    def above(self, level: Level) -> list[Level]:
        """List its levels above one, the highest first."""
        return [each for each in self.value if each.is_above(level)]


# Read for themselves or told by us: they match nothing.
_APART = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        QUERY_RETRIEVE_LEVEL,
        0x00080053,  # Query/Retrieve View: negotiated, and we don't
        RETRIEVE_AE_TITLE,
        INSTANCE_AVAILABILITY,
        TIMEZONE_OFFSET,
    }
)
# Two quotation marks ask for what is empty (PS3.4 C.2.2.2.7).
_EMPTY = b'""'


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier that fits its level.

    `keys` are those of `mwl.archive.query`, `unsupported` the tags with a value that the
    level isn't matched by. Dates and times are told in `offset`; None: as they are.
    """

    level: Level
    keys: dict[str, Matcher]
    unsupported: list[int]
    offset: timezone | None = None


def identify(
    keys: DataSet,
    root: Root,
    zone: ZoneInfo,
    options: Options = NONE,
    texts: charsets.Texts | None = None,
) -> Identifier:
    """Read the level and the keys; `zone` is the site's, `options` are what was agreed on.

    `texts` are how those of `keys` are read.
    Mismatch: no level of the model, or nothing that names what lies above it. Rejected, with
    the attribute's keyword: a value that can't be read.
    """
    level = _level(keys.get(QUERY_RETRIEVE_LEVEL), root)
    model = EVERYTHING if options.relational else MODELS[level]
    texts = texts or charsets.Texts(dataset.character_sets(keys))
    found, unsupported = _matchers(keys, model, options, texts)
    if not options.relational:
        for above in root.above(level):
            is_there = found.get(UNIQUE_KEYS[above], UNIVERSAL) != UNIVERSAL
            _demand(level, is_there, UNIQUE_TAGS[above])
    offset = offset_of(keys.get(TIMEZONE_OFFSET)) if options.timezone else None
    if offset is not None or options.combined_date_time:
        for of in ("study", "series"):
            _combine(found, of)
    if offset is not None:
        shift_keys(found, offset, zone)
    return Identifier(level, found, unsupported, offset)


def _matchers(
    keys: DataSet, model: Model, options: Options, texts: charsets.Texts
) -> tuple[dict[str, Matcher], list[int]]:
    rest = {tag: key for tag, key in keys.items() if tag not in _APART}
    empty: dict[str, Matcher] = {}
    if options.empty_values:
        for tag in [tag for tag, key in rest.items() if key.value == _EMPTY]:
            if tag in model and model[tag].key:
                empty[model[tag].key] = Single("")
                del rest[tag]
    found: dict[str, Matcher] = {}
    unsupported: list[int] = []
    requests = rest.get(REQUEST_ATTRIBUTES)
    if requests is not None and REQUEST_ATTRIBUTES in model:
        del rest[REQUEST_ATTRIBUTES]
        for item in requests.items[:1]:  # C.2.2.2.6: no more than one
            found, unsupported = matchers(item, OF_REQUESTS, texts)
    of_level, without = matchers(rest, model, texts, fuzzy=options.fuzzy)
    return {**of_level, **found, **empty}, without + unsupported


def _combine(found: dict[str, Matcher], of: str) -> None:
    """Make one range of instants of a range of dates and one of times (C.2.2.2.5.3)."""
    date, time = found.get(f"{of}_date"), found.get(f"{of}_time")
    if isinstance(date, Range) and isinstance(time, Range) and date.stated and time.stated:
        # The dates stay: they have an index.
        found[f"{of}_start"] = matching.start(date, time).instant
        del found[f"{of}_time"]


def name(
    keys: DataSet, root: Root = Root.STUDY, options: Options = NONE
) -> tuple[Level, dict[str, Matcher], list[str]]:
    """Read what is to be retrieved: its level, the keys above, and its UIDs, of any number.

    C.4.3.1.3.1: only unique keys count. Mismatch: one of them is missing, unless relational
    retrieval was agreed on. Rejected: too many values above.
    """
    level = _level(keys.get(QUERY_RETRIEVE_LEVEL), root)
    above: dict[str, Matcher] = {}
    for each in root.above(level):
        tag = UNIQUE_TAGS[each]
        named = matching.uids("\\".join(_values(keys, tag)), keyword_of(tag))
        if named != UNIVERSAL:
            above[UNIQUE_KEYS[each]] = named
        elif not options.relational:
            _demand(level, False, tag)
    uids = _values(keys, UNIQUE_TAGS[level])
    _demand(level, bool(uids) and "*" not in uids, UNIQUE_TAGS[level])
    return level, above, uids


def _values(keys: DataSet, tag: int) -> list[str]:
    if tag not in keys:
        return []
    value = charsets.specific_character_set(keys[tag].value, dataset.character_sets(keys))
    return [uid for each in value.text.split("\\") if (uid := each.strip(" \0"))]


def _demand(level: Level, is_there: bool, tag: int) -> None:
    if not is_there:
        raise Mismatch(f"the level {level} needs {keyword_of(tag)}", tag)


def _level(key: Element | None, root: Root) -> Level:
    value = key.value.decode("latin-1").strip().upper() if key else ""
    if value not in root.value:
        *first, last = root.value
        text = f"Query/Retrieve Level must be {', '.join(first)} or {last}"
        raise Mismatch(text, QUERY_RETRIEVE_LEVEL)
    return Level(value)
