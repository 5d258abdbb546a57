"""What a mapper remembers of earlier messages never shows: it reads as one that knows none."""

import random

import pytest

from hl7 import profile
from hl7.er7 import Message
from hl7.mapping import Change, Mapper, envelope
from mwl.errors import Fault, Rejected
from tests.builders import adt_a08, omg, omi, orm
from tests.hl7_mapping import BERLIN, DEFAULT, NOW

DEFAULTS = profile.load(DEFAULT)
VALUES = [
    *('""', "", "  ", "A&B", "A\\S\\B", "A~B", "X" * 70, "1.2.3", "CT", "XX", "B6", "^B6~B6"),
    *("A^B^C", "A^^^NS&1.2&ISO^MR", "P1^^^A^SS~P2^^^B^MR", "7&Okafor&Ada&M", '""^""', "a\\b"),
    *("Doe^Jane^^^^^L^A~X^Y^^^^^^I", "CT1~MR1", "B1^T^L^B2^T2^L2", "\\XC7\\", "20300101"),
    *("^^^20300102093000^^S", "1^Chen^Li^^^Dr", "203001010930+0100", "R", "kg"),
]
WIDTHS = {"PID": 19, "PV1": 19, "ORC": 19, "OBR": 44, "TQ1": 9, "IPC": 9, "ZDS": 1}


def mutated(seed: int) -> str:
    """Make a message of which some fields are others, in its own or in other delimiters."""
    chance = random.Random(seed)
    lines = chance.choice([orm, omg, omi, adt_a08])(MSH_10="SAME").rstrip("\r").split("\r")
    for _ in range(chance.randint(0, 5)):
        number = chance.randrange(1, len(lines))
        fields = lines[number].split("|")
        at = chance.randint(1, WIDTHS.get(fields[0], 3))
        fields += [""] * (at + 1 - len(fields))
        fields[at] = chance.choice(VALUES)
        lines[number] = "|".join(fields)
    if chance.random() < 0.2:
        lines.append(chance.choice(["NTE|1||note", "OBR||P9|F9|MR1^MR^99", "AL1|1||P^Peanut"]))
    text = "\r".join(lines)
    return text.replace("^", "$") if chance.random() < 0.1 else text


def outcome(text: str, by: Mapper) -> list[Change] | tuple[Fault, ...]:
    message = Message.parse(text)
    try:
        return by.read(message, envelope(message), NOW)
    except Rejected as error:
        return error.faults


@pytest.fixture(scope="module")
def experienced() -> Mapper:
    by = Mapper(DEFAULTS, BERLIN)
    for seed in range(400):
        outcome(mutated(seed), by)
    return by


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_a_mapper_that_has_read_much_reads_as_a_new_one(experienced, first):
    for seed in range(first, first + 40):
        text = mutated(seed)
        assert outcome(text, experienced) == outcome(text, Mapper(DEFAULTS, BERLIN))


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr("hl7.mapping.readers._MOST_KNOWN", 8)
    by = Mapper(DEFAULTS, BERLIN)
    for number in range(40):
        (change,) = outcome(orm(OBR_44=f"C{number}^Exam {number}^99RIS"), by)
        assert change.procedures[0].fields["description"] == f"Exam {number}"
    tables = [
        table
        for column in by._orders.steps.plain.procedure._columns
        for known in column._known.values()
        for table in known.values()
    ]
    assert 0 < max(map(len, tables)) <= 8


def test_thousands_of_segments_that_nobody_asks_for_cost_little(monkeypatch):
    names = [f"Z{a}{b}" for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    by = Mapper(DEFAULTS, BERLIN)
    for turn in range(3):
        others = [f"{name}|{turn}" for name in names[turn:]]
        obrs = [line for n in range(300) for line in (f"OBR||P{n}|F{n}|E{n}^e", f"ZDS|1.2.{n}")]
        text = orm(without=["OBR", "ZDS"], after=[*others, *obrs])
        assert len(outcome(text, by)) == 300
    assert len(by._grid._layout._by_names) == 1
