"""Messages of one order or patient are applied one after another, across connections.

SQLite has one writer at a time, so there is nothing to do. On PostgreSQL a transaction takes
an advisory lock for each key it is about to look up: a row lock can't hold what does not
exist yet. A merge moves the orders of patients that it was not told of, along their trails
of aliases, so it runs alone: everybody else shares one lock more, which it takes for itself.
"""

from hashlib import blake2b
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, func, select

from mwl.db import Prepared
from mwl.patients import Identifier

_MERGES = 0x6D657267  # "merg"


def _lock(name: str) -> Any:
    return func.pg_advisory_xact_lock(bindparam(name, type_=BigInteger)).label(f"{name}_taken")


_TAKE = Prepared(
    select(
        func.pg_advisory_xact_lock_shared(_MERGES).label("merges_shared"),
        _lock("first"),
        _lock("second"),
        _lock("third"),
    )
)
_TAKE_MERGES = Prepared(select(func.pg_advisory_xact_lock(_MERGES).label("merges_taken")))


def take(conn: Connection, one: str, two: str = "", three: str = "") -> None:
    """Hold the locks of some keys, from the next statement until the transaction ends."""
    if conn.dialect.name == "postgresql":
        # In one order, so that two transactions never wait for each other within one call.
        first, second, third = sorted(_number(key or one) for key in (one, two, three))
        _TAKE.send(conn, {"first": first, "second": second, "third": third})


def take_merges(conn: Connection) -> None:
    """Keep everybody else out until the transaction ends."""
    if conn.dialect.name == "postgresql":
        _TAKE_MERGES.send(conn, {})


def order_key(source: str, number: Identifier | None) -> str:
    """Name the lock of an order; whatever the namespace, as senders are not strict in it."""
    return f"order\0{source}\0{number.id}" if number else ""


def patient_key(identifier: Identifier) -> str:
    """Name the lock of a patient; whatever the issuer, which may have two names."""
    return f"patient\0{identifier.id}"


def _number(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
