"""How a database carries out what a function asks of it, for tests of indexes."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from mwl.db import Database

_EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


def plan_of(database: Database, asked: Callable[[Any], object]) -> str:
    """Give the plans of the statements that `asked(session)` executes, a line a node.

    Of those that go through SQLAlchemy's execute(); prepared ones don't.
    """
    with database.read() as session:
        conn = session.connection()
        seen: list[tuple[str, Any]] = []

        def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            seen.append((statement, parameters))

        event.listen(conn, "before_cursor_execute", note)
        try:
            asked(session)
        finally:
            event.remove(conn, "before_cursor_execute", note)
        explain = _EXPLAIN[conn.dialect.name]
        rows = [
            row
            for statement, parameters in seen
            for row in conn.exec_driver_sql(explain + statement, parameters)
        ]
    return "\n".join(str(row[-1]) for row in rows)
