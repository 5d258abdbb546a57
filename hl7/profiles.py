"""The profiles in use, compiled, and which of them reads a message.

It is chosen by who sent the message (MSH-3^MSH-4) and by the listener that it came in on: the
first `Rule` that fits both, else the listener's own, else the one of all others.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hl7 import er7
from hl7.chains import Chain
from hl7.mapping import Mapper, envelope
from hl7.profile import Profile


class Rule(NamedTuple):
    """Messages of `source`, MSH-3^MSH-4 with * and ?, on `listener` ("": any): `profile`."""

    source: str
    listener: str
    profile: str


class Reader:
    """One profile, compiled. Threads share it."""

    def __init__(self, name: str, profile: Profile, site_zone: ZoneInfo) -> None:
        self.name = name
        self.profile = profile
        self.zone = site_zone
        self.mapper = Mapper(profile, site_zone)
        self.default_charset = profile.message.charset or None
        self.answers_orders = profile.message.answer == "order"
        # By what a refused message is found.
        self.patient_ids: Chain = profile.patient_identifier.sources
        self.accession_numbers: Chain = (
            *profile.with_ipc.procedure.columns.get("accession_number", ()),
            *profile.procedure.columns.get("accession_number", ()),
        )


class Profiles:
    """All profiles of one site, whose time zone is `zone`. Threads share it."""

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        zone: ZoneInfo,
        default: str,
        *,
        listeners: Mapping[str, str] | None = None,
        rules: Sequence[Rule] = (),
    ) -> None:
        """Compile `profiles`, by name; `listeners` maps those with a profile of their own to it."""
        self.zone = zone
        self._readers = {name: Reader(name, each, zone) for name, each in profiles.items()}
        self._charsets = list({each.default_charset for each in self._readers.values()})
        self._default, self._listeners, self._rules = default, listeners or {}, tuple(rules)
        # A feed says the same names with each of its messages.
        self.choose = lru_cache(maxsize=1024)(self._choose)

    @classmethod
    def single(cls, profile: Profile, zone: ZoneInfo, name: str = "default") -> "Profiles":
        """Read everything by one profile."""
        return cls({name: profile}, zone, name)

    @property
    def names(self) -> list[str]:
        return list(self._readers)

    def charset_of(self, raw: bytes, listener: str = "") -> str | None:
        """Tell how a message without MSH-18 is read; None: UTF-8, else Latin-1."""
        if (
            len(self._charsets) == 1
        ):  # who sent it, which costs a look at its header, decides nothing
            return self._charsets[0]
        header = er7.header(raw)
        return self.choose(listener, envelope(header).source if header else "").default_charset

    def reader(self, name: str) -> Reader | None:
        """Give the profile of that name, if it is in use."""
        return self._readers.get(name)

    def why(self, listener: str, source: str) -> str:
        """Say for a person by what the profile of a message is chosen."""
        for number, rule in enumerate(self._rules, 1):
            if rule.listener in {"", listener} and fnmatchcase(source, rule.source):
                return f"[[hl7.source]] {number}: {rule.source}"
        if listener in self._listeners:
            return f"[[hl7.listener]] {listener}"
        return "hl7.profile: of all that nothing else speaks of"

    def _choose(self, listener: str, source: str) -> Reader:
        for rule in self._rules:
            if rule.listener in {"", listener} and fnmatchcase(source, rule.source):
                return self._readers[rule.profile]
        return self._readers[self._listeners.get(listener, self._default)]
