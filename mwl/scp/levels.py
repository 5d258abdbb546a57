"""The Study Root information model (PS3.4 C.6.2): its attributes, and identifiers of a level.

The search is hierarchical (C.4.1.2.1): what lies above the level is named by its unique
keys, one value each or a list. What else lies above may be asked for and matched by, too:
a row below knows it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from mwl import dataset, matching
from mwl.archive.query import UNIQUE_KEYS, Level
from mwl.dataset import DataSet, Element
from mwl.errors import MwlError
from mwl.matching import UNIVERSAL, Matcher
from mwl.scp.answers import Asker, Compile, Compiled
from mwl.scp.attributes import (
    SPECIFIC_CHARACTER_SET,
    Attribute,
    Item,
    Model,
    keyword_of,
    tag_of,
    vr_of,
)
from mwl.scp.keys import matchers

QUERY_RETRIEVE_LEVEL = 0x00080052
RETRIEVE_AE_TITLE = 0x00080054
INSTANCE_AVAILABILITY = 0x00080056
UNIQUE_TAGS: Mapping[Level, int] = {
    Level.STUDY: 0x0020000D,
    Level.SERIES: 0x0020000E,
    Level.IMAGE: 0x00080018,
}

# Read for themselves or told by us: they match nothing.
_APART = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        QUERY_RETRIEVE_LEVEL,
        0x00080053,  # Query/Retrieve View: negotiated, and we don't
        RETRIEVE_AE_TITLE,
        INSTANCE_AVAILABILITY,
    }
)


class Mismatch(MwlError):
    """An identifier that the SOP class doesn't know; `tag` is the attribute to blame."""

    def __init__(self, text: str, tag: int) -> None:
        super().__init__(text)
        self.tag = tag


def _key(vr: str, name: str, *, multiple: bool = False) -> Attribute:
    return Attribute(vr, name, name, multiple=multiple)


def _identifier(vr: str, name: str, *, multiple: bool = False) -> Attribute:
    return Attribute(vr, name, name, exact=True, multiple=multiple)


def _namespace(issuer: str) -> str:
    return issuer.partition("^")[0]


def _requests(text: str) -> list[Item]:
    # An item may hold what no dictionary names; a peer could do nothing with it.
    items = ({tag_of(keyword): value for keyword, value in each.items()} for each in _read(text))
    return [{tag: value for tag, value in item.items() if tag is not None} for item in items]


def _read(text: str) -> list[dict[str, str]]:
    read: list[dict[str, str]] = json.loads(text) if text else []
    return read


_STUDY: Model = {
    0x00080020: _key("DA", "study_date"),
    0x00080030: _key("TM", "study_time"),
    0x00080050: _identifier("SH", "accession_number"),
    0x00080061: _key("CS", "modalities", multiple=True),
    0x00080062: _identifier("UI", "sop_classes", multiple=True),
    0x00080090: _key("PN", "referring_physician"),
    0x00081030: _key("LO", "study_description"),
    0x00100010: _key("PN", "patient_name"),
    0x00100020: _identifier("LO", "patient_id"),
    0x00100021: Attribute("LO", "issuer", "issuer", text=_namespace, exact=True),
    0x00100030: _key("DA", "birth_date"),
    0x00100040: _key("CS", "sex"),
    0x0020000D: _identifier("UI", "study_instance_uid"),
    0x00200010: _identifier("SH", "study_id"),
    0x00201206: Attribute("IS", "study_series"),
    0x00201208: Attribute("IS", "study_instances"),
}
_SERIES: Model = {
    0x00080021: _key("DA", "series_date"),
    0x00080031: _key("TM", "series_time"),
    0x00080060: _key("CS", "modality"),
    0x00081010: _key("SH", "station_name"),
    0x0008103E: _key("LO", "series_description"),
    0x00180015: _key("CS", "body_part"),
    0x0020000E: _identifier("UI", "series_instance_uid"),
    0x00200011: _key("IS", "series_number"),
    0x00201209: Attribute("IS", "series_instances"),
    0x00400275: Attribute("SQ", "request", items=_requests),
}
_IMAGE: Model = {
    0x00080016: _identifier("UI", "sop_class_uid"),
    0x00080018: _identifier("UI", "sop_instance_uid"),
    0x00083002: Attribute("UI", "transfer_syntax", exact=True),
    0x00200013: _key("IS", "instance_number"),
    0x00280008: Attribute("IS", "frames"),
    0x00280010: Attribute("US", "rows"),
    0x00280011: Attribute("US", "columns"),
}
MODELS: Mapping[Level, Model] = {
    Level.STUDY: _STUDY,
    Level.SERIES: {**_STUDY, **_SERIES},
    Level.IMAGE: {**_STUDY, **_SERIES, **_IMAGE},
}


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier that fits its level.

    `keys` are those of `mwl.archive.query`, `unsupported` the tags with a value that the
    level isn't matched by.
    """

    level: Level
    keys: dict[str, Matcher]
    unsupported: list[int]


def identify(keys: DataSet) -> Identifier:
    """Read the level and the keys.

    Mismatch: no level of the Study Root, or nothing that names what lies above it.
    Rejected, with the attribute's keyword: a value that can't be read.
    """
    level = _level(keys.get(QUERY_RETRIEVE_LEVEL))
    rest = {tag: key for tag, key in keys.items() if tag not in _APART}
    found, unsupported = matchers(rest, MODELS[level], dataset.character_sets(keys))
    for above in above_of(level):
        is_there = found.get(UNIQUE_KEYS[above], UNIVERSAL) != UNIVERSAL
        _demand(level, is_there, UNIQUE_TAGS[above])
    return Identifier(level, found, unsupported)


def name(keys: DataSet) -> tuple[Level, dict[str, Matcher], list[str]]:
    """Read what is to be retrieved: its level, the keys above, and its UIDs, of any number.

    C.4.3.1.3.1: only unique keys count. Mismatch: one of them is missing. Rejected: too
    many values above.
    """
    level = _level(keys.get(QUERY_RETRIEVE_LEVEL))
    above: dict[str, Matcher] = {}
    for each in above_of(level):
        tag = UNIQUE_TAGS[each]
        above[UNIQUE_KEYS[each]] = matching.uids("\\".join(_uids(keys, tag)), keyword_of(tag))
        _demand(level, above[UNIQUE_KEYS[each]] != UNIVERSAL, tag)
    uids = _uids(keys, UNIQUE_TAGS[level])
    _demand(level, bool(uids) and "*" not in uids, UNIQUE_TAGS[level])
    return level, above, uids


def _uids(keys: DataSet, tag: int) -> list[str]:
    value = keys[tag].value.decode("latin-1") if tag in keys else ""
    return [uid for each in value.split("\\") if (uid := each.strip(" \0"))]


def _demand(level: Level, is_there: bool, tag: int) -> None:
    if not is_there:
        raise Mismatch(f"the level {level} needs {keyword_of(tag)}", tag)


def above_of(level: Level) -> list[Level]:
    """List the levels above one, the highest first."""
    levels = list(Level)
    return levels[: levels.index(level)]


def _level(key: Element | None) -> Level:
    value = key.value.decode("latin-1").strip().upper() if key else ""
    try:
        return Level(value)
    except ValueError:
        text = "Query/Retrieve Level must be STUDY, SERIES or IMAGE"
        raise Mismatch(text, QUERY_RETRIEVE_LEVEL) from None


class _Answer(Compiled):
    """A plan for the rows of `mwl.archive.query`; `fixed` is the same in each of them."""

    def __init__(
        self, keys: DataSet, asker: Asker, term: str, *, level: Level, fixed: Mapping[int, str]
    ) -> None:
        self._model, self._fixed = MODELS[level], fixed
        added = {tag: Element(tag, vr_of(tag)) for tag in fixed}
        super().__init__({**keys, **added}, asker, term)

    def _key(self, tag: int, key: Element) -> None:
        attribute = self._model.get(tag)
        if tag in self._fixed:
            value = self._fixed[tag].encode("latin-1")
            self._constant += self._writer.element(tag, vr_of(tag), value)
        elif attribute is not None:
            self.is_known = True
            self._attribute(tag, key, attribute)
        else:
            self._unknown(tag, key)


def compiled(level: Level, ae_title: str) -> Compile:
    """Make what compiles the answers of a level; `ae_title` is where they are retrieved."""
    fixed = {
        QUERY_RETRIEVE_LEVEL: str(level),
        RETRIEVE_AE_TITLE: ae_title,
        INSTANCE_AVAILABILITY: "ONLINE",
    }
    return partial(_Answer, level=level, fixed=fixed)
