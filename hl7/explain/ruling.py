"""Which `[[rule]]` of a profile gave a value: found by leaving rules out."""

from collections.abc import Mapping
from typing import Final

from hl7 import er7
from hl7.explain.targets import Target, targets
from hl7.intake import Incoming
from hl7.profiles import Reader
from mwl.errors import Rejected

_MOST: Final = 40  # readings by other rules

Values = Mapping[str, Target]


def ruled(
    reader: Reader, message: er7.Message, incoming: Incoming, values: Values
) -> dict[str, str]:
    """Name the rule that gave each value, where one did: [[rule]] 3."""
    rules = reader.profile.rules
    if not rules:
        return {}
    trial = _Rules(reader, message, incoming)
    without = trial.read(0)
    open_ = [at for at, each in values.items() if without.get(at) != each]
    found = {}
    for at in open_:
        if trial.left <= 0:
            break
        # The first rule that matches and has an answer wins: what it gives, it gives whatever
        # comes behind it.
        low, high = 0, len(rules)
        while low + 1 < high:
            middle = (low + high) // 2
            if trial.read(middle).get(at) == values[at]:
                high = middle
            else:
                low = middle
        found[at] = f"[[rule]] {high}"
    return found


class _Rules:
    """Reads a message by the first so many rules of a profile."""

    def __init__(self, reader: Reader, message: er7.Message, incoming: Incoming) -> None:
        self._reader, self._message, self._incoming = reader, message, incoming
        self._known: dict[int, Values] = {}
        self.left = _MOST

    def read(self, count: int) -> Values:
        if count not in self._known:
            self.left -= 1
            self._known[count] = self._read(count)
        return self._known[count]

    def _read(self, count: int) -> Values:
        given = self._reader
        profile = given.profile.model_copy(update={"rules": given.profile.rules[:count]})
        mapper = Reader(given.name, profile, given.zone).mapper
        try:
            changes = mapper.read(
                self._message, self._incoming.sent, self._incoming.received.received_at
            )
        except Rejected:
            return {}
        return targets(changes)
