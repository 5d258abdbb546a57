"""A profile's `[[rule]]` tables: what follows from a code, a station, or anything else."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from types import MappingProxyType
from typing import NamedTuple

from hl7.chains import Condition
from hl7.er7 import path
from hl7.mapping.grid import Cell, Grid
from hl7.profile import Profile
from hl7.profile_rules import RuleTable

_PATIENT_CLASS = path("PV1-2")
_PATIENT_LOCATION = path("PV1-3.1")
_NO_FIELDS: Mapping[str, str | None] = MappingProxyType({})


class Ruled(NamedTuple):
    """What the rules say; empty where they say nothing."""

    modality: str = ""
    stations: tuple[str, ...] = ()
    fields: Mapping[str, str | None] = _NO_FIELDS


NOTHING = Ruled()


class Asked(NamedTuple):
    """What rules are asked about: a procedure's codes and their scheme, stations, the row."""

    codes: Sequence[str]
    scheme: str
    stations: Sequence[str]
    cells: Sequence[Cell]


_Test = Callable[[Asked], bool]


class _Rule(NamedTuple):
    tests: Sequence[_Test]
    gives: Ruled

    def matches(self, asked: Asked) -> bool:
        return all(test(asked) for test in self.tests)


class Rules:
    """The rules of a profile, compiled."""

    def __init__(self, profile: Profile, grid: Grid) -> None:
        self._outranking = _compiled(grid, (rule for rule in profile.rules if rule.override))
        self._rules = _compiled(grid, (rule for rule in profile.rules if not rule.override))

    def find(self, asked: Asked) -> Ruled:
        """Give what is asked for where the message says nothing."""
        return _first(self._rules, asked)

    def outranking(self, asked: Asked) -> Ruled:
        """Give what counts whatever the message says."""
        return _first(self._outranking, asked) if self._outranking else NOTHING


def _compiled(grid: Grid, rules: Iterable[RuleTable]) -> list[_Rule]:
    return [
        _Rule([*_tests(rule, grid)], Ruled(rule.modality, rule.stations, rule.fields()))
        for rule in rules
    ]


def _first(rules: Sequence[_Rule], asked: Asked) -> Ruled:
    """Take each answer from the first rule that matches and has it."""
    modality = ""
    stations: tuple[str, ...] = ()
    fields: dict[str, str | None] = {}
    for rule in rules:
        if rule.matches(asked):
            modality = modality or rule.gives.modality
            stations = stations or rule.gives.stations
            # A code, its meaning and its scheme are of one rule: none has a part of them.
            fields = {**rule.gives.fields, **fields}
    return Ruled(modality, stations, fields)


def _tests(rule: RuleTable, grid: Grid) -> list[_Test]:
    found: list[_Test] = []
    if rule.code:
        code = _pattern(rule.code)
        found.append(lambda asked: any(map(code, asked.codes)))
    if rule.scheme:
        scheme = _pattern(rule.scheme)
        found.append(lambda asked: scheme(asked.scheme) is not None)
    if rule.station:
        station = _pattern(rule.station)
        found.append(lambda asked: any(map(station, asked.stations)))
    conditions = [*rule.when]
    for place, pattern in (
        (_PATIENT_CLASS, rule.patient_class),
        (_PATIENT_LOCATION, rule.patient_location),
    ):
        if pattern:
            conditions.append(Condition(place, (pattern,)))
    if conditions:
        test = grid.test(tuple(conditions))
        found.append(lambda asked: test(asked.cells))
    return found


def _pattern(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(translate(pattern)).match
