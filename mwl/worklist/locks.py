"""Messages of one order or patient are applied one after another, across connections.

SQLite has one writer at a time, so there is nothing to do. On PostgreSQL a transaction takes
an advisory lock for each key it is about to look up: a row lock can't hold what does not
exist yet.
"""

from hashlib import blake2b

from sqlalchemy import BigInteger, Connection, bindparam, func, select

from mwl.db import Prepared
from mwl.patients import Identifier

_TAKE = Prepared(
    select(
        func.pg_advisory_xact_lock(bindparam("first", type_=BigInteger)).label("first_taken"),
        func.pg_advisory_xact_lock(bindparam("second", type_=BigInteger)).label("second_taken"),
    )
)


def take(conn: Connection, one: str, other: str) -> None:
    """Hold the locks of two keys, from the next statement until the transaction ends."""
    if conn.dialect.name == "postgresql":
        # In one order, so that two transactions never wait for each other within one call.
        first, second = sorted((_number(one), _number(other)))
        _TAKE.send(conn, {"first": first, "second": second})


def order_key(source: str, number: Identifier) -> str:
    """Name the lock of an order."""
    return f"order\0{source}\0{number.id}\0{number.issuer_key}"


def patient_key(identifier: Identifier) -> str:
    """Name the lock of a patient."""
    return f"patient\0{identifier.id}\0{identifier.issuer_key}"


def _number(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
