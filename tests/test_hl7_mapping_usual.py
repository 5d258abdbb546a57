"""Orders like most others are read at once; what comes of it is what reading with care gives."""

import random
import re
import sys
import time
import tomllib

import pytest

from hl7 import profile
from hl7.er7 import Message
from hl7.mapping import Mapper, envelope, patterns
from hl7.mapping.usual import UsualOrders
from mwl.errors import Rejected
from tests.bench.bench_mapping import message
from tests.hl7_mapping import BERLIN, DEFAULT, NOW

DEFAULTS = profile.load(DEFAULT)
# What stands on either side of a pattern.
VALUES = [
    *('""', "", "  ", "A&B", "A\\S\\B", "A~B", "a\\b", "a\x01b", "a\u00a0b", "x\u2028", "\uff21"),
    *(
        "X" * 16,
        "X" * 17,
        "X" * 64,
        "X" * 65,
        "P-1^NS",
        "P1 ^NS",
        " P1^NS",
        "P1^N S",
        "P1^NS^1.2^ISO",
    ),
    *(
        "A^^^NS^MR",
        "A^^^NS^MR^F",
        "A^^^^MR",
        "A^^^NS^XX",
        "A^^^NS-1^MR",
        "A^B^C",
        "1.2.3",
        "1.02.3",
    ),
    *(
        "Doe^Jane^Q^^^^L",
        "Doe^Jane^^^^^L",
        "Doe^^^^^^L",
        "Doe^^^^L",
        "Doe^Jane^L^^^^l",
        "Doe^Jane^^",
        "Doe ^Jane",
        "Doe^ Jane",
        "Doe^^Q",
        "^Jane",
        "Doe=X^Y",
    ),
    *(
        "M\u00fcller^J\u00f6rg",
        "\u5c71\u7530^\u592a\u90ce",
        "Doe^" + "J" * 21,
        "Doe^Jane^^^Dr",
        "^^^^^^L",
    ),
    *("5 Long St^^Town^^1^USA^L", "^ ^", "a^ b^ c ", "19800229", "19810229", "19800431", "1980"),
    *("19800101120000", "00000000", "^^^20300102093000^^S", "^^^20301302093000", "^^^203001020930"),
    *("^^^20300102093000+0100", "^^^20300331023000", "^^^20301027023000", "^^^20300102", "^^^^^R"),
    *("R51^ Headache ^I10", "R51^^I10", "R51", "R51^" + "h" * 64, "R51^" + "h" * 65, "CT", "XX"),
]
RULES = """
[[rule]]
code = "CT1*"
stations = ["CT1"]
location = "Room 1"

[attributes]
SpecialNeeds = ["PID-15"]
"""


def mutated(seed: int) -> str:
    """Make an order of which up to two fields are others."""
    chance = random.Random(seed)
    lines = message(seed).rstrip("\r").split("\r")
    for _ in range(chance.choice([0, 1, 1, 2])):
        number = chance.randrange(1, len(lines))
        fields = lines[number].split("|")
        fields[chance.randrange(1, len(fields))] = chance.choice(VALUES)
        lines[number] = "|".join(fields)
    if chance.random() < 0.05:
        lines.append(chance.choice(["NTE|1||note", "OBR||P9|F9|MR1^MR^99", "AL1|1||P^Peanut"]))
    return "\r".join(lines)


def outcome(text: str, by: Mapper) -> object:
    read = Message.parse(text)
    try:
        return by.read(read, envelope(read), NOW)
    except Rejected as error:
        return error.faults


def reads(monkeypatch) -> list[bool]:
    """Note of each order whether it is usual."""
    found: list[bool] = []
    read = UsualOrders.read

    def noting(*given):
        found.append((change := read(*given)) is not None)
        return change

    monkeypatch.setattr(UsualOrders, "read", noting)
    return found


@pytest.mark.parametrize("more", ["", RULES], ids=["default", "rules and attributes"])
def test_usual_orders_are_read_as_with_care(more, monkeypatch):
    by = profile.parse(tomllib.loads(f"{DEFAULT.read_text()}\n{more}"), "mine")
    quick, careful = Mapper(by, BERLIN), Mapper(by, BERLIN)
    texts = [message(number) for number in range(60)] + [mutated(seed) for seed in range(600)]
    usual = reads(monkeypatch)
    found = [outcome(text, quick) for text in texts]
    assert sum(usual) > 150
    monkeypatch.setattr(UsualOrders, "read", lambda *_: None)
    for text, each in zip(texts, found, strict=True):
        assert each == outcome(text, careful), text


def test_the_orders_of_a_sender_are_usual_before_long(monkeypatch):
    by = Mapper(DEFAULTS, BERLIN)
    for number in range(100):
        outcome(message(number), by)
    usual = reads(monkeypatch)
    for number in range(1_000, 1_100):
        outcome(message(number), by)
    assert usual == [True] * 100


def test_shapes_that_come_once_or_in_thousands_take_no_room(monkeypatch):
    monkeypatch.setattr("hl7.mapping.usual._MOST_SHAPES", 4)
    monkeypatch.setattr("hl7.mapping.usual._MOST_SEEN", 16)
    by = Mapper(DEFAULTS, BERLIN)
    for number in range(64):
        lines = message(1).split("\r")
        for bit, field in enumerate((5, 6, 7, 8, 11, 13)):
            if number >> bit & 1:
                fields = lines[1].split("|")
                lines[1] = "|".join([*fields[:field], "", *fields[field + 1 :]])
        for _ in range(4):
            outcome("\r".join(lines), by)
    assert len(by._usual._plans) == 4
    assert len(by._usual._seen) <= 16


def test_characters_of_patterns_need_no_mending():
    texts = re.compile(f"[{patterns.LETTERS}{patterns.SIGNS}]")
    letters = re.compile(f"[{patterns.LETTERS}]")
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if texts.match(character):
            assert character.isprintable()
            assert character not in '^~\\&|"'
        if letters.match(character):
            assert re.match(r"\w", character)


def test_what_fits_no_pattern_takes_no_longer_to_find_out():
    by = Mapper(DEFAULTS, BERLIN)
    for _ in range(5):
        outcome(message(1), by)
    (plan,) = by._usual._plans.values()
    cells = ["^".join(["a b" * 6] * 3) + "^a" * 20_000 + "\u2028"] * 18
    began = time.thread_time()
    assert plan.match("\r".join(cells)) is None
    assert time.thread_time() - began < 0.05
