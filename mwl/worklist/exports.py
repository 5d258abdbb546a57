"""Folders of worklist files that can't be kept fresh: a person is told for as long as that is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, insert, select, update
from sqlmodel import Session

from mwl.db.tables import FailingExport

_FAILING = FailingExport.__table__  # type: ignore[attr-defined]
_LONGEST_ERROR: Final = 500


def failed(session: Session, folder: str, error: str, now: datetime) -> None:
    """Note why a folder could not be kept; since when stays, if it could not before."""
    conn, text = session.connection(), error[:_LONGEST_ERROR]
    known = conn.execute(
        update(_FAILING).where(_FAILING.c.folder == folder).values(error=text)
    ).rowcount
    if not known:
        conn.execute(insert(_FAILING).values(folder=folder, since=now, error=text))


def well(session: Session, folder: str) -> None:
    """Note that a folder is as it should be."""
    session.connection().execute(delete(_FAILING).where(_FAILING.c.folder == folder))


def failing(session: Session) -> Mapping[str, Any]:
    """Give the rows of all folders that can't be kept, by the folder."""
    return {row.folder: row for row in session.connection().execute(select(_FAILING))}
