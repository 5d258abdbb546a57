"""Worklist items as files of PS3.10, each what a scanner would be answered with.

An item is written with every attribute of the information model that it has, and with the
further ones that it keeps, private ones too. What would be empty is left out: wlmscpfs takes an
item with an empty code sequence for half a one, and serves no such.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Any

from mwl.dataset import Bounds, DataSet, Element, read
from mwl.net.negotiation import IMPLEMENTATION_UID
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.answers import Asker, Plan
from mwl.scp.attributes import (
    SCHEDULED_PROCEDURE_STEP_SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    STEP,
    TOP,
    Model,
    keyword_of,
    tag_of,
    vr_of,
)
from mwl.scp.elements import Writer
from mwl.worklist import kept

_SOP_CLASS = "1.2.840.10008.5.1.4.31"  # Modality Worklist Information Model - FIND
_PRIVATE = re.compile(r"([0-9A-F]{4}),xx([0-9A-F]{2}) (.+)")  # as mwl.worklist.kept names them
_FIRST_BLOCK = 0x10
_MOST_PLANS = 64
_ANY = Bounds(max_bytes=2**31, max_elements=2**31)  # it is ours

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class File:
    """An item's file: its name, made of what identifies the item, and its bytes."""

    name: str
    data: bytes


class FileWriter:
    """Makes files of the rows of `mwl.worklist.find`, asked for `columns`."""

    def __init__(self, asker: Asker) -> None:
        """Write as `asker` would be answered; in explicit VRs, whatever it takes."""
        self._asker = replace(asker, explicit=True)
        self._plans: dict[frozenset[str], Plan] = {frozenset(): Plan(all_keys(), self._asker)}
        (plan,) = self._plans.values()
        self.columns = plan.columns
        named = ("study_instance_uid", "sps_id", "attributes")
        self._uid, self._step, self._attributes = map(self.columns.index, named)

    def name(self, row: Row) -> str:
        """Name the file of an item."""
        return f"mwl-{self._digest(row).hex()}.wl"

    def write(self, row: Row) -> File:
        """Make the file of an item."""
        plan = self._plan(row[self._attributes])
        # One that names more attributes has the same columns, in another order perhaps.
        of_plan = dict(zip(self.columns, row, strict=False))
        answer = plan.encode([of_plan[name] for name in plan.columns])
        item = _stated(read(answer, explicit=True, vr_of=vr_of, bounds=_ANY))
        data = encoded(item, Writer(explicit=True))
        uid = f"2.25.{int.from_bytes(self._digest(row), 'big')}"  # PS3.5 B.2
        return File(self.name(row), _meta(uid) + data)

    def _digest(self, row: Row) -> bytes:
        return sha256(f"{row[self._uid]}\0{row[self._step]}".encode()).digest()[:16]

    def _plan(self, attributes: str) -> Plan:
        names = frozenset(() if attributes == "{}" else json.loads(attributes)) - _modelled()
        if names not in self._plans and len(self._plans) >= _MOST_PLANS:
            del self._plans[next(name for name in self._plans if name)]
        if names not in self._plans:
            self._plans[names] = Plan(all_keys(sorted(names)), self._asker)
        return self._plans[names]


@cache
def _modelled() -> frozenset[str]:
    """Name what may be kept of attributes that every file has."""
    of_step = [*map(keyword_of, STEP)]
    return frozenset({*map(keyword_of, TOP), *of_step, *(kept.STEP + name for name in of_step)})


def all_keys(further: Sequence[str] = ()) -> DataSet:
    """Ask for every attribute of the model, and for `further` ones by their names."""
    of_step = [name for name in further if name.startswith(kept.STEP)]
    others = [name for name in further if name not in of_step]
    top = {**_asked(TOP), **{key.tag: key for key in _further(others)}}
    inner = [name.removeprefix(kept.STEP) for name in of_step]
    step = {**_asked(STEP), **{key.tag: key for key in _further(inner)}}
    sequence = SCHEDULED_PROCEDURE_STEP_SEQUENCE
    top[sequence] = Element(sequence, "SQ", items=(dict(sorted(step.items())),))
    return dict(sorted(top.items()))


def _asked(model: Model) -> dict[int, Element]:
    return {tag: Element(tag, of.vr) for tag, of in model.items() if tag != SPECIFIC_CHARACTER_SET}


def _further(names: Sequence[str]) -> Iterator[Element]:
    blocks: dict[tuple[int, str], int] = {}
    for name in names:
        if (private := _PRIVATE.fullmatch(name)) is not None:
            group, element, creator = int(private[1], 16), int(private[2], 16), private[3]
            if (group, creator) not in blocks:
                block = _FIRST_BLOCK + sum(of == group for of, _ in blocks)
                blocks[group, creator] = block
                yield Element(group << 16 | block, "LO", creator.encode("ascii", "replace"))
            yield Element(group << 16 | blocks[group, creator] << 8 | element, "LO")
        elif (tag := tag_of(name)) is not None:
            yield Element(tag, vr_of(tag))


def _stated(item: DataSet) -> DataSet:
    """Leave out what is empty."""
    found = {}
    for tag, element in item.items():
        inner = tuple(filter(None, map(_stated, element.items)))
        if inner or element.value:
            found[tag] = replace(element, items=inner)
    return found


def encoded(keys: DataSet, writer: Writer) -> bytes:
    """Write a data set of raw values; sequences without an item are empty."""
    parts = []
    for tag, key in keys.items():
        if not key.items:
            parts.append(writer.element(tag, key.vr, key.value))
            continue
        inner = b"".join(
            writer.open_item() + encoded(item, writer) + writer.close_item() for item in key.items
        )
        parts.append(writer.open_sequence(tag) + inner + writer.close_sequence())
    return b"".join(parts)


def _meta(uid: str) -> bytes:
    """Write the preamble and the file meta information (PS3.10 7.1)."""
    write = Writer(explicit=True).element
    group = b"".join(
        [
            write(0x00020001, "OB", b"\0\1"),
            write(0x00020002, "UI", _SOP_CLASS.encode()),
            write(0x00020003, "UI", uid.encode()),
            write(0x00020010, "UI", EXPLICIT_VR_LITTLE_ENDIAN.encode()),
            write(0x00020012, "UI", IMPLEMENTATION_UID.encode()),
        ]
    )
    length = len(group).to_bytes(4, "little")
    return b"\0" * 128 + b"DICM" + write(0x00020000, "UL", length) + group
