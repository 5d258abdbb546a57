"""Put what was received into the index: one transaction, and then it is there for good.

The order of things: if the series is known to this process and the patient is the study's,
`fresh` inserts without asking. Whatever that doesn't settle is settled here, holding a lock
on the SOP Instance UID: find or make the study, the series and the instance, decide what the
newcomer is (`mwl.studies`), and link a new study to the order that asked for it.

Asking twice with the same key stores once and answers the same: who was told that the
outcome is open may ask again.
"""

from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, bindparam, select
from sqlmodel import Session

from mwl.archive import fresh, places, versions
from mwl.archive.known import Place, known_of
from mwl.archive.locks import take
from mwl.archive.received import Received, Stored, check
from mwl.db import Database, Prepared
from mwl.db.tables import Instance, Series, StoredObject, Study
from mwl.errors import Outage
from mwl.studies import ObjectState, Outcome, Person, contradict, is_other_patient, quarantine

log = structlog.get_logger(__name__)

_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]

# Each attempt ends only because somebody else stored the same instance between two
# statements; then it is there, and the next attempt finds it.
_MOST_ATTEMPTS = 4


def store(database: Database, received: Received) -> Stored:
    """Store an instance whose bytes are durable; return once the index is, too.

    The caller deletes the object of a REPEATED: its bytes are here under another key.
    Raises Rejected (MALFORMED) for UIDs that are none, Outage.
    """
    check(received)
    known = known_of(database)
    uids = received.study_instance_uid, received.series_instance_uid
    place = known.get(*uids)
    if place is not None and _is_of(place.person, received.person()):
        # To a name of its own: the work may be run again, in another thread.
        series = place.series
        reply = database.write(lambda s: fresh.insert(s.connection(), received, series))
        if reply.count:
            return Stored(Outcome.STORED)
        known.forget(*uids)
    for _ in range(_MOST_ATTEMPTS):
        try:
            settled = database.write(lambda session: _settle(session, received))
        except _Raced:
            continue
        if settled.place is not None:
            known.learn(*uids, settled.place)
        return _told(settled.stored, received)
    raise Outage("archive: others keep storing the same instance")


def _is_of(known: Person, new: Person) -> bool:
    """Tell whether the newcomer is the study's patient, and adds nothing to know of them."""
    if known == new:
        return True
    if not (known.patient_id or not new.patient_id):
        return False
    return not (contradict(known, new) or is_other_patient(known, new))


def _told(stored: Stored, received: Received) -> Stored:
    if stored.outcome is Outcome.QUARANTINED:
        log.warning(
            "archive.quarantined",
            sop_instance_uid=received.sop_instance_uid,
            source=received.source,
            reason=stored.reason,
        )
    return stored


class _Raced(Exception):
    """Somebody else stored the instance just now: look again."""


class _Settled(NamedTuple):
    stored: Stored
    place: Place | None = None


_BY_KEY = Prepared(
    select(_OBJECT.c.state, _OBJECT.c.reason).where(_OBJECT.c.key == bindparam("key"))
)
_BY_UID = Prepared(
    select(
        _INSTANCE.c.id,
        _INSTANCE.c.sop_class_uid,
        _INSTANCE.c.rows,
        _INSTANCE.c.columns,
        _INSTANCE.c.frames,
        _SERIES.c.series_instance_uid,
        _STUDY.c.study_instance_uid,
    )
    .select_from(_INSTANCE.join(_SERIES, _SERIES.c.id == _INSTANCE.c.series))
    .join(_STUDY, _STUDY.c.id == _SERIES.c.study)
    .where(_INSTANCE.c.sop_instance_uid == bindparam("sop_instance_uid"))
)


def _settle(session: Session, received: Received) -> _Settled:
    conn = session.connection()
    take(conn, received.sop_instance_uid)
    asked = _BY_KEY.send(conn, {"key": received.key})
    instance = _BY_UID.send(conn, {"sop_instance_uid": received.sop_instance_uid})
    mine = asked.first()
    if mine is not None:
        # We were here before, and whoever asked didn't hear of it.
        is_out = mine.state == ObjectState.QUARANTINED
        return _Settled(Stored(Outcome.QUARANTINED if is_out else Outcome.STORED, mine.reason))
    there = instance.first()
    if there is not None and _is_elsewhere(there, received):
        return _Settled(
            _set_aside(conn, received, "the SOP instance UID is known in another series")
        )
    place = places.place(conn, received)
    if place is None:
        return _Settled(
            _set_aside(conn, received, "the study instance UID is known for another patient")
        )
    if there is None:
        return _Settled(_first(conn, received, place), place)
    return _Settled(versions.add(conn, received, there), place)


def _is_elsewhere(there: Any, received: Received) -> bool:
    return bool(
        there.series_instance_uid != received.series_instance_uid
        or there.study_instance_uid != received.study_instance_uid
    )


def _first(conn: Connection, received: Received, place: Place) -> Stored:
    # Waits for whoever inserts the same just now, and then finds that it is there.
    reply = fresh.insert(conn, received, place.series)
    reply.all()
    if not reply.count:
        raise _Raced
    return Stored(Outcome.STORED)


def _set_aside(conn: Connection, received: Received, reason: str) -> Stored:
    return versions.set_aside(conn, received, quarantine(reason))
