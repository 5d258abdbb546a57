"""The session that a unit of work is given."""

from typing import Any, NoReturn

from sqlalchemy import Connection
from sqlmodel import Session


class WriteSession(Session):
    """A session inside a transaction that somebody else ends.

    `connection()` hands out the connection itself; the ORM joins the transaction only when
    it is used, so that work in Core pays nothing for it.
    """

    def __init__(self, connection: Connection) -> None:
        """Join the transaction of `connection`."""
        super().__init__(connection, join_transaction_mode="rollback_only", expire_on_commit=False)
        self._joined = connection

    def share(self) -> None:
        """Serve others' work in the same transaction.

        The ORM, which rolls back when a flush fails, from now on gets a savepoint of its own.
        """
        self.join_transaction_mode = "create_savepoint"

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

    def close(self) -> None:
        """Forget what the ORM holds, if it was used; the session may be used again."""
        if self.in_transaction() or len(self.identity_map) or self.new:
            super().close()
