"""New rows, whose numbers are known before the database has answered."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Integer, String, Table, bindparam, func, insert, select
from sqlmodel import AutoString

from mwl.db.prepared import Prepared

# PostgreSQL is asked for numbers once in so many rows; those left over are gaps.
_RESERVED: Final = 32
_RESERVE: Final = Prepared(
    select(
        func.nextval(
            func.pg_get_serial_sequence(bindparam("table", type_=String), "id"), type_=Integer
        ).label("number")
    ).select_from(func.generate_series(1, _RESERVED))
)


class Insertion:
    """An INSERT into a table with an `id`; texts that are not given are empty, the rest NULL.

    SQLite answers at once. For PostgreSQL a connection reserves numbers beforehand, so that
    rows that refer to each other can be sent together.
    """

    def __init__(self, table: Table, **blank: Any) -> None:
        """Insert into `table`; `blank` are further values that may be left out."""
        texts = {c.name: "" for c in table.c if isinstance(c.type, AutoString)}
        nulls = {c.name: None for c in table.c if c.nullable}
        self.blank: dict[str, Any] = {**nulls, **texts, **blank}
        self._name = table.name
        self._insert = Prepared(insert(table).values({c.name: bindparam(c.name) for c in table.c}))

    def send(
        self,
        connection: Connection,
        values: Mapping[str, Any],
        duplicate: Callable[[], Exception] | None = None,
    ) -> int:
        """Insert a row and return its number; errors as in `Prepared.send()`."""
        number = None if connection.dialect.name == "sqlite" else self._reserve(connection)
        row = {**self.blank, **values, "id": number}
        reply = self._insert.send(connection, row, duplicate)
        given = reply.row if number is None else number
        assert given is not None
        return given

    def _reserve(self, connection: Connection) -> int:
        reserved: deque[int] = connection.info.setdefault(("reserved", self._name), deque())
        if not reserved:
            found = _RESERVE.all(connection, {"table": self._name})
            reserved.extend(row.number for row in found)
        return reserved.popleft()
