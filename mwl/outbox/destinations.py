"""Who is told what: the part of `[[hl7.destination]]` that the services need; pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol


class _Given(Protocol):
    """What is asked of a table `[[hl7.destination]]`."""

    @property
    def name(self) -> str: ...
    @property
    def events(self) -> Sequence[str]: ...
    @property
    def sources(self) -> Sequence[str]: ...
    @property
    def application(self) -> str: ...
    @property
    def facility(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Destination:
    """A system that is told what becomes of orders.

    `sources` are the feeds (MSH-3^MSH-4, patterns with * and ?) whose orders it is told of,
    empty: all; `peer` is what it calls itself (MSH-5^MSH-6 of what we send), as far as we know.
    """

    name: str
    events: frozenset[str] = frozenset({"IP", "CM", "DC", "CA"})
    sources: frozenset[str] = frozenset()
    peer: str = ""

    def wants(self, event: str, source: str, cause: str | None = None) -> bool:
        """Tell whether it is to hear of `event` of an order that came from `source`.

        `cause` is the feed whose own message brought the event about: it knows. A
        destination that takes everything and doesn't say who it is may be that feed.
        """
        if event not in self.events or not is_among(feed(source), self.sources):
            return False
        return cause is None or not self._may_be(feed(cause))

    def _may_be(self, feed: str) -> bool:
        if is_among(feed, self.sources) and (self.sources or not self.peer):
            return True
        application, _, facility = feed.partition("^")
        own_application, _, own_facility = self.peer.partition("^")
        same_application = own_application in {"", application}
        return bool(self.peer) and same_application and own_facility in {"", facility}


@dataclass(frozen=True, slots=True)
class Destinations:
    """Everybody who is told; empty: nobody."""

    all: tuple[Destination, ...] = ()

    @classmethod
    def of(cls, tables: Iterable[_Given]) -> "Destinations":
        """Take them from `settings.hl7.destination`."""
        return cls(
            tuple(
                Destination(
                    table.name,
                    frozenset(table.events),
                    frozenset(map(feed, table.sources)),
                    feed(f"{namespace(table.application)}^{namespace(table.facility)}"),
                )
                for table in tables
            )
        )

    def hear_of(self, event: str) -> bool:
        """Tell whether anybody wants to know of such an event at all."""
        return any(event in each.events for each in self.all)

    def wanting(self, event: str, source: str, cause: str | None = None) -> list[str]:
        """Name those who are to hear of an event (see `Destination.wants`)."""
        return [each.name for each in self.all if each.wants(event, source, cause)]


def is_among(value: str, patterns: Collection[str]) -> bool:
    """Tell whether a value fits one of the patterns (* and ?); without any, all do."""
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)


def feed(source: str) -> str:
    """Give a source (MSH-3^MSH-4) in one spelling."""
    return source.strip().rstrip("^")


def namespace(designator: str) -> str:
    """Give what an HD is known by, as incoming messages are: the namespace, else the UID."""
    name, _, universal = designator.partition("^")
    return name.strip() or universal.partition("^")[0].strip()
