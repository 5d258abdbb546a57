"""What a database needs now and then."""

import sqlite3
import time
from contextlib import closing

from sqlmodel import Session

from mwl.db.database import Database
from mwl.db.engine import open_sqlite
from mwl.db.faults import outage
from mwl.db.gate import FileGate

# A checkpoint waits this long for readers to let go of the log's end, then does what it can.
_READERS_S = 1.0


def optimize(database: Database) -> None:
    """Refresh the planner's statistics; on SQLite, fold the log into the file. Raises Outage.

    PostgreSQL's autovacuum sees to itself. Call it every few hours.
    """
    if database.path is None:
        return
    database.write(_analyze)
    gate = FileGate(database.path)
    try:
        # Inside the gate, so that no writer polls against us.
        with (
            gate.held(time.monotonic() + database.wait_s),
            closing(open_sqlite(database.path, _READERS_S)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise outage(error) or error from None
    finally:
        gate.close()


def _analyze(session: Session) -> None:
    # Not PRAGMA optimize, which looks at what its own connection has asked: the queries that
    # matter are asked by others. The limit, rows of an index, keeps it at a few milliseconds.
    session.connection().exec_driver_sql("PRAGMA analysis_limit = 400")
    session.connection().exec_driver_sql("ANALYZE")


def reusable_bytes(database: Database) -> int | None:
    """Tell how much of an SQLite file is free for new rows; None for PostgreSQL.

    A file never shrinks by itself: what was removed makes room in it. Raises Outage.
    """
    if database.path is None:
        return None
    with database.read() as session:
        connection = session.connection()
        pages = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
        return int(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())
