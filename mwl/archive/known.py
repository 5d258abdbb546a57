"""What a process remembers of the archive, so that the next image of a series asks nothing.

Rows of studies and series are never deleted, so a number once committed stays right. It is
still only a hint: the statement that uses one says for which UID it holds it to be.
"""

import threading
from collections import OrderedDict
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from mwl.db import Database
from mwl.studies import Person

# Series that scanners are sending just now, and then some; 0.5 kB each.
_MOST: Final = 4096


class Place(NamedTuple):
    """Where an instance goes: the row of its series, and whom the study belongs to."""

    series: int
    person: Person


class Known:
    """The series seen last, of one database; threads may share it."""

    def __init__(self) -> None:
        """Know nothing."""
        self._places: OrderedDict[tuple[str, str], Place] = OrderedDict()
        self._mutex = threading.Lock()
        self.swept_to = 0  # the study that the last sweep ended at

    def get(self, study_uid: str, series_uid: str) -> Place | None:
        """Tell what is known of a series."""
        with self._mutex:
            place = self._places.get((study_uid, series_uid))
            if place is not None:
                self._places.move_to_end((study_uid, series_uid))
            return place

    def learn(self, study_uid: str, series_uid: str, place: Place) -> None:
        """Remember a series whose row is committed."""
        with self._mutex:
            self._places[study_uid, series_uid] = place
            self._places.move_to_end((study_uid, series_uid))
            if len(self._places) > _MOST:
                self._places.popitem(last=False)

    def forget(self, study_uid: str, series_uid: str) -> None:
        """Look it up next time."""
        with self._mutex:
            self._places.pop((study_uid, series_uid), None)


_OF: WeakKeyDictionary[Database, Known] = WeakKeyDictionary()
_MUTEX = threading.Lock()


def known_of(database: Database) -> Known:
    """Give what this process knows of a database."""
    known = _OF.get(database)
    if known is None:
        with _MUTEX:
            known = _OF.setdefault(database, Known())
    return known
