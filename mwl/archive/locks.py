"""Who settles one SOP instance is alone with it.

SQLite has one writer at a time. On PostgreSQL an advisory lock holds what may not exist yet.
"""

from hashlib import blake2b

from sqlalchemy import BigInteger, Connection, bindparam, func, select

from mwl.db import Prepared

_TAKE = Prepared(
    select(func.pg_advisory_xact_lock(bindparam("number", type_=BigInteger)).label("taken"))
)


def take(conn: Connection, sop_instance_uid: str) -> None:
    """Hold the lock of an instance, from the next statement until the transaction ends."""
    if conn.dialect.name == "postgresql":
        digest = blake2b(f"instance\0{sop_instance_uid}".encode(), digest_size=8).digest()
        _TAKE.send(conn, {"number": int.from_bytes(digest, "big", signed=True)})
