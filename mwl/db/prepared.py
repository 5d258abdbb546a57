"""Statements compiled once, for the paths that every order and every query takes.

SQLAlchemy's execute() looks up what it has compiled, builds a context and a result, and so
costs more than SQLite itself: a transaction of eight upserts takes 1.0 ms through it and
0.36 ms through these.

SQLite answers at once. PostgreSQL is asked through a pipeline (pipeline.py): `send()` waits
for nothing, and whoever reads a reply waits for all that was sent before, once.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    JSON,
    CompoundSelect,
    Connection,
    Delete,
    Dialect,
    Insert,
    LargeBinary,
    Select,
    Table,
    Update,
    bindparam,
    update,
)
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from mwl.db.faults import wrapped

if TYPE_CHECKING:
    from mwl.db.pipeline import Pipeline

_Statement = Select[Any] | CompoundSelect[Any] | Insert | Update | Delete

# Prepared statements of PostgreSQL take their parameters by number.
_NUMBERED: Final = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


class Reply:
    """What the database answers to one statement; to read it is to wait for it.

    Reading raises the error of whichever statement failed first among those sent so far.
    """

    __slots__ = ("_found", "_plan", "_wait", "count", "duplicate", "row")

    def __init__(self, plan: "_Plan", duplicate: Callable[[], Exception] | None) -> None:
        self._plan = plan
        self._found: Sequence[Any] | None = None
        self._wait: Callable[[], None] | None = None
        self.duplicate = duplicate
        self.count = 0  # rows changed
        self.row: int | None = None  # of a new row, where SQLite gave it its number

    def all(self) -> list[Any]:
        """Return all rows, as named tuples."""
        return self._plan.rows(self._read())

    def first(self) -> Any:
        """Return the first row, as a named tuple, or None."""
        found = self._read()
        return self._plan.row(found[0]) if found else None

    def scalar(self) -> Any:
        """Return the first value of the first row, or None."""
        found = self._read()
        return self._plan.row(found[0])[0] if found else None

    def settle(self, found: Sequence[Any], count: int) -> None:
        """Take the answer, as the driver gives it."""
        self._found, self.count = found, count

    def wait_by(self, wait: Callable[[], None]) -> None:
        """Tell how the answer is to be waited for."""
        self._wait = wait

    def fail(self, error: Exception) -> Exception:
        """Dress a driver's error as SQLAlchemy does, or as who sent the statement wants it."""
        dressed = wrapped(error, self._plan.text, self._plan.dialect)
        if self.duplicate is not None and isinstance(dressed, IntegrityError):
            return self.duplicate()
        return dressed

    def _read(self) -> Sequence[Any]:
        if self._found is None and self._wait is not None:
            self._wait()
        assert self._found is not None
        return self._found


class Prepared:
    """A statement of SQLAlchemy Core that is executed by the driver itself.

    Every `bindparam` without a value is a key of the parameters; values pass the column
    types' processors both ways, as they do in SQLAlchemy. The connection must be in a
    transaction, as `session.connection()` is. Errors are SQLAlchemy's.

    Not for IN with a list, nor for columns with defaults in Python: TypeError.
    """

    def __init__(self, statement: _Statement, *, once: bool = False) -> None:
        """Keep `statement`; it is compiled at the first use on each kind of database.

        `once`: there is one kind alone. Then it is let go, for its text takes a tenth of it.
        """
        self._statement: _Statement | None = statement
        self._once = once
        self._plans: dict[str, _Plan] = {}

    def send(
        self,
        connection: Connection,
        params: Mapping[str, Any],
        duplicate: Callable[[], Exception] | None = None,
    ) -> Reply:
        """Ask without waiting, where the database allows it.

        An error then comes out of a later call. `duplicate` makes the one that is raised
        instead of IntegrityError.
        """
        dialect = connection.dialect
        plan = self._plans.get(dialect.name)
        if plan is None:
            kind = _SqlitePlan if dialect.name == "sqlite" else _PostgresqlPlan
            statement = self._statement
            # Another thread has made the plan, where the statement is gone meanwhile.
            plan = kind(statement, dialect) if statement is not None else self._plans[dialect.name]
            self._plans[dialect.name] = plan
            if self._once:
                self._statement = None
        reply = Reply(plan, duplicate)
        plan.send(connection, params, reply)
        return reply

    def all(self, connection: Connection, params: Mapping[str, Any]) -> list[Any]:
        """Return all rows, as named tuples."""
        return self.send(connection, params).all()

    def first(self, connection: Connection, params: Mapping[str, Any]) -> Any:
        """Return the first row, as a named tuple, or None."""
        return self.send(connection, params).first()

    def scalar(self, connection: Connection, params: Mapping[str, Any]) -> Any:
        """Return the first value of the first row, or None."""
        return self.send(connection, params).scalar()

    def run(self, connection: Connection, params: Mapping[str, Any]) -> int:
        """Return how many rows an INSERT, UPDATE or DELETE without RETURNING changed."""
        reply = self.send(connection, params)
        reply.all()
        return reply.count


def rewriting(table: Table, *kept: str) -> Prepared:
    """Prepare the UPDATE of one row, its id given as `row`, in all columns but `kept`."""
    names = [c.name for c in table.c if c.name not in ("id", *kept)]
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return Prepared(update(table).where(table.c.id == bindparam("row")).values(values))


class _Plan(ABC):
    """What a driver needs: the text, how values go in, and how they come out."""

    def __init__(self, statement: _Statement, dialect: Dialect) -> None:
        self.dialect = dialect
        compiled = self._compile(statement)
        assert isinstance(compiled, SQLCompiler)
        _refuse(compiled)
        self.text = compiled.string
        names = compiled.positiontup or []
        self.types = [compiled.binds[name].type.dialect_impl(dialect) for name in names]
        into = [_binder(type_, dialect) for type_ in self.types]
        self._into = [(i, process) for i, process in enumerate(into) if process is not None]
        self._take = _taker(names)
        binds = compiled.binds.items()
        self._constants = {n: b.effective_value for n, b in binds if not b.required}
        columns = list(statement.exported_columns)
        out = [c.type.dialect_impl(dialect).result_processor(dialect, None) for c in columns]
        self._out = [(i, process) for i, process in enumerate(out) if process is not None]
        make_type: Any = namedtuple
        self._make = make_type("Row", [str(c.key) for c in columns], rename=True)._make

    def _compile(self, statement: _Statement) -> Any:
        return statement.compile(dialect=self.dialect)

    @abstractmethod
    def send(self, connection: Connection, params: Mapping[str, Any], reply: Reply) -> None:
        """Execute, and see to it that `reply` gets the answer."""

    def bind(self, params: Mapping[str, Any]) -> list[Any]:
        values = list(self._take({**self._constants, **params} if self._constants else params))
        for index, process in self._into:
            values[index] = process(values[index])
        return values

    def rows(self, found: Sequence[Any]) -> list[Any]:
        return list(map(self.row if self._out else self._make, found))

    def row(self, found: Sequence[Any]) -> Any:
        if not self._out:
            return self._make(found)
        values = list(found)
        for index, process in self._out:
            values[index] = process(values[index])
        return self._make(values)


class _SqlitePlan(_Plan):
    def send(self, connection: Connection, params: Mapping[str, Any], reply: Reply) -> None:
        driver: Any = connection.connection.driver_connection
        try:
            cursor = driver.execute(self.text, self.bind(params))
            reply.settle(cursor.fetchall(), cursor.rowcount)
            reply.row = cursor.lastrowid
        except sqlite3.Error as error:
            raise reply.fail(error) from error


class _PostgresqlPlan(_Plan):
    def __init__(self, statement: _Statement, dialect: Dialect) -> None:
        # Here, since who keeps everything in SQLite needs no psycopg.
        from mwl.db.pipeline import Statement

        super().__init__(statement, dialect)
        is_binary = [isinstance(type_, LargeBinary) for type_ in self.types]
        self._kept = Statement(self.text, is_binary)

    def _compile(self, statement: _Statement) -> Any:
        return statement.compile(dialect=_NUMBERED)

    def send(self, connection: Connection, params: Mapping[str, Any], reply: Reply) -> None:
        pipeline: Pipeline = connection.info["pipeline"]
        reply.wait_by(pipeline.settle)
        pipeline.send(self._kept, self.bind(params), reply)


def _binder(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    process = type_.bind_processor(dialect)
    if process is None or not isinstance(type_, JSON):
        return process
    dump = process

    def dump_sparingly(value: Any) -> Any:
        # Most of it is empty, and an encoder takes 10 µs to say so.
        if value == []:
            return "[]"
        return "{}" if value == {} else dump(value)

    return dump_sparingly


def _taker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Make what takes the values of `names` out of a mapping, in their order."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda given: [given[name] for name in names]


def _refuse(compiled: SQLCompiler) -> None:
    if compiled.literal_execute_params or compiled.post_compile_params:
        raise TypeError("can't be prepared: it has a parameter that changes its text")
    if compiled.insert_prefetch or compiled.update_prefetch:
        raise TypeError("can't be prepared: a column has a default in Python")
