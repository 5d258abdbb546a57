"""The session that a unit of work is given."""

from typing import Any, Literal, NoReturn

from sqlalchemy import Connection
from sqlmodel import Session


class WriteSession(Session):
    """A session inside a transaction that somebody else ends.

    `connection()` hands out the connection itself; the ORM joins the transaction only when
    it is used, so that work in Core pays nothing for it.
    """

    def __init__(self, connection: Connection, *, grouped: bool) -> None:
        """Join the transaction of `connection`.

        `grouped`: others' work is in the same transaction, so the ORM, which rolls back
        when a flush fails, gets a savepoint of its own.
        """
        mode: Literal["create_savepoint", "rollback_only"]
        mode = "create_savepoint" if grouped else "rollback_only"
        super().__init__(connection, join_transaction_mode=mode, expire_on_commit=False)
        self._joined = connection

    def connection(self, *_: Any, **__: Any) -> Connection:  # we have but this one
        return self._joined

    def commit(self) -> NoReturn:
        raise RuntimeError("Database.write() commits, not the work in it")

    def rollback(self) -> NoReturn:
        raise RuntimeError("raise an error: Database.write() then undoes the work")

    def settle(self) -> None:
        """Flush what the ORM holds; the transaction stays open."""
        if self.in_transaction():
            super().commit()
