"""What an item says beyond the columns: sequences, and attributes that are kept by name."""

from collections.abc import Iterator
from typing import Final

from mwl.dataset import Element
from mwl.orders import Fields
from mwl.scp.attributes import STEP, TOP, Model, is_creator, keyword_of, vr_of
from mwl.scp.elements import TEXTS
from mwl.wlfiles.items import Item
from mwl.worklist import kept

# Of a file and its class, and how its texts and times are meant: not what is told of an item.
_OF_THE_FILE: Final = frozenset({0x00080005, 0x00080016, 0x00080018, 0x00080201, 0x00400100})
_KEPT: Final = "attributes"  # the column
_MOST, _LONGEST = 128, 10_240  # attributes of an item, and characters of one


def items_of(item: Item, keyword: str) -> str:
    """Write the items of a sequence as `mwl.worklist.kept` has them; "" for none."""
    found = filter(None, map(_kept, item.items(keyword)))
    text = kept.written(list(found))
    return text if len(text) <= _LONGEST else ""


def code(prefix: str, item: Item, keyword: str) -> Fields:
    """Read a code sequence into its columns, which begin with `prefix`."""
    first = item.first(keyword)
    value, scheme = first.text("CodeValue"), first.text("CodingSchemeDesignator")
    if not value:
        return {}
    more = any(len(each.keys) > 3 for each in item.items(keyword))
    is_plain = len(item.items(keyword)) == 1 and not more
    return {
        f"{prefix}_value": value,
        f"{prefix}_scheme": scheme,
        f"{prefix}_meaning": first.text("CodeMeaning"),
        f"{prefix}_items": None if is_plain else items_of(item, keyword),
    }


def attributes(top: Item, step: Item) -> Fields:
    """List what is kept by name, of an item and of its scheduled procedure step."""
    told = [*_further(top, TOP, ""), *_further(step, STEP, kept.STEP)]
    return dict(told[:_MOST])


def _further(level: Item, model: Model, under: str) -> Iterator[tuple[str, str]]:
    for tag, element in level.keys.items():
        known = model.get(tag)
        if tag in _OF_THE_FILE or (known is not None and known.column != _KEPT):
            continue
        name = _name(level, tag)
        if not name:
            continue
        is_sequence = (known.vr if known else element.vr) == "SQ"
        text = items_of(level, name) if is_sequence else _text(level, element)
        if text and len(text) <= _LONGEST:
            yield under + name, text


def _name(level: Item, tag: int) -> str:
    """Name an attribute as `mwl.worklist.kept` does; "": it can't be."""
    group, element = tag >> 16, tag & 0xFFFF
    if not group & 1:
        return "" if vr_of(tag) == "UN" else keyword_of(tag)
    if is_creator(tag):
        return ""
    creator = level.keys.get(group << 16 | element >> 8)
    return kept.private(group, element, level.value(creator)) if creator is not None else ""


def _text(level: Item, element: Element) -> str:
    return level.value(element) if element.vr in TEXTS else ""


def _kept(item: Item) -> kept.Item:
    found: dict[str, str | list[kept.Item]] = {}
    for tag, element in item.keys.items():
        keyword = keyword_of(tag)
        if tag >> 16 & 1 or keyword.startswith("("):
            continue
        if element.items:
            found[keyword] = [_kept(inner) for inner in item.items(keyword)]
        elif text := _text(item, element):
            found[keyword] = text
    return found
