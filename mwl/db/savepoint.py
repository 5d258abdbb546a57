"""A place in a transaction to go back to, for work that is tried or rehearsed."""

from typing import Any

from sqlmodel import Session


class Savepoint:
    """What is done in a session from here on can be undone, as often as one likes."""

    def __init__(self, session: Session, name: str) -> None:
        """Begin here; `name` is no other open savepoint's."""
        self._session = session
        self._connection = session.connection()
        self._name = name
        self._execute("SAVEPOINT")

    def settle(self) -> None:
        """Wait for all that was sent. Raises the error of what failed."""
        self._session.flush()
        if (pipeline := self._pipeline) is not None:
            pipeline.settle()

    def undo(self) -> None:
        """Undo all since the beginning, also after an error of the database."""
        if (pipeline := self._pipeline) is not None:
            pipeline.abandon()
        self._session.expunge_all()
        self._execute("ROLLBACK TO SAVEPOINT")

    def release(self) -> None:
        """Keep what was done, as far as the transaction is kept."""
        self._execute("RELEASE SAVEPOINT")

    @property
    def _pipeline(self) -> Any:
        return self._connection.info.get("pipeline")

    def _execute(self, words: str) -> None:
        self._connection.exec_driver_sql(f"{words} {self._name}")
