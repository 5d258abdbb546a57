"""The usual case: the next image of a known series, in as little as it can be.

On SQLite two statements, on PostgreSQL one, which goes out together with COMMIT. Nothing is
looked up: an instance that is known already, or a series that isn't where we remember it,
inserts no row, and the caller then takes the long way.
"""

from typing import Any

from sqlalchemy import Connection, Select, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from mwl.archive.received import Received, instance_row, object_row
from mwl.db import Insertion, Prepared, Reply
from mwl.db.tables import Instance, Series, StoredObject
from mwl.studies import ObjectState

_SERIES = Series.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]

_INSTANCE_COLUMNS = [c.name for c in _INSTANCE.c if c.name not in ("id", "series")]
_OBJECT_COLUMNS = [c.name for c in _OBJECT.c if c.name not in ("id", "instance")]


def _instance() -> Select[Any]:
    values = [bindparam(name, type_=_INSTANCE.c[name].type) for name in _INSTANCE_COLUMNS]
    return select(_SERIES.c.id, *values).where(
        _SERIES.c.id == bindparam("series"),
        _SERIES.c.series_instance_uid == bindparam("series_instance_uid"),
    )


_NAMES = ["series", *_INSTANCE_COLUMNS]
_ON_SQLITE = Prepared(
    sqlite.insert(_INSTANCE).from_select(_NAMES, _instance(), False).on_conflict_do_nothing()
)
_INSERT_OBJECT = Insertion(_OBJECT)


def _on_postgresql() -> Prepared:
    made = (
        postgresql.insert(_INSTANCE)
        .from_select(_NAMES, _instance(), False)
        .on_conflict_do_nothing()
        .returning(_INSTANCE.c.id)
        .cte("made")
    )
    # Its parameters have names of their own: both tables have a created_at and the like.
    values = [bindparam(f"object_{n}", type_=_OBJECT.c[n].type) for n in _OBJECT_COLUMNS]
    rows = select(made.c.id, *values)
    return Prepared(
        postgresql.insert(_OBJECT).from_select(["instance", *_OBJECT_COLUMNS], rows, False)
    )


_ON_POSTGRESQL = _on_postgresql()


def insert(connection: Connection, received: Received, series: int) -> Reply:
    """Insert an instance of the series in row `series`, and its bytes.

    After the commit the reply's `count` is 0 if it was not new, or the series not there.
    """
    instance = {
        **instance_row(received),
        "series": series,
        "series_instance_uid": received.series_instance_uid,
    }
    stored = {**object_row(received), "state": ObjectState.SERVED, "reason": ""}
    if connection.dialect.name == "postgresql":
        stored = {f"object_{name}": value for name, value in stored.items()}
        return _ON_POSTGRESQL.send(connection, {**instance, **stored})
    made = _ON_SQLITE.send(connection, instance)
    if made.count:
        _INSERT_OBJECT.send(connection, {**stored, "instance": made.row})
    return made
