"""A profile's `[[rule]]` tables: what follows from a code or a station."""

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import NamedTuple

from hl7.profile import Profile


class Ruled(NamedTuple):
    """What the rules say; empty where they say nothing."""

    modality: str = ""
    stations: tuple[str, ...] = ()


NOTHING = Ruled()


class _Rule(NamedTuple):
    code: re.Pattern[str] | None
    station: re.Pattern[str] | None
    gives: Ruled

    def matches(self, codes: Iterable[str], stations: Iterable[str]) -> bool:
        return (self.code is None or any(map(self.code.match, codes))) and (
            self.station is None or any(map(self.station.match, stations))
        )


class Rules:
    """The rules of a profile, compiled."""

    def __init__(self, profile: Profile) -> None:
        self._rules = [
            _Rule(
                re.compile(translate(rule.code)) if rule.code else None,
                re.compile(translate(rule.station)) if rule.station else None,
                Ruled(rule.modality, rule.stations),
            )
            for rule in profile.rules
        ]

    def find(self, codes: Iterable[str], stations: Iterable[str]) -> Ruled:
        """Take modality and stations each from the first rule that matches and has them."""
        modality = ""
        found: tuple[str, ...] = ()
        for rule in self._rules:
            if rule.matches(codes, stations):
                modality = modality or rule.gives.modality
                found = found or rule.gives.stations
        return Ruled(modality, found)
