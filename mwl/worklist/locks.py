"""Messages of one order or patient are applied one after another, across connections.

SQLite has one writer at a time, so there is nothing to do. On PostgreSQL a transaction takes
an advisory lock for each key it is about to look up: a row lock can't hold what does not
exist yet.
"""

from hashlib import blake2b

from sqlalchemy import Connection, text

from mwl.patients import Identifier

_TAKE = text("SELECT pg_advisory_xact_lock(k) FROM unnest(CAST(:keys AS bigint[])) AS k")


def take(conn: Connection, *keys: str) -> None:
    """Wait for and hold the locks of `keys` until the transaction ends."""
    if conn.dialect.name != "postgresql":
        return
    # Sorted, so that two transactions never wait for each other within one call.
    conn.execute(_TAKE, {"keys": sorted(_number(key) for key in keys)})


def order_key(source: str, number: Identifier) -> str:
    """Name the lock of an order."""
    return f"order\0{source}\0{number.id}\0{number.issuer_key}"


def patient_key(identifier: Identifier) -> str:
    """Name the lock of a patient."""
    return f"patient\0{identifier.id}\0{identifier.issuer_key}"


def _number(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
