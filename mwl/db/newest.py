"""Lists by when their rows came, the newest first, paged by keyset in both directions."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, or_

Key = tuple[datetime, int]
"""`received_at` and `id`: no two rows of a list share it."""


def ordered(
    statement: Select[Any], table: Table, after: Key | None, before: Key | None
) -> Select[Any]:
    """Order the rows of `table`: those after a key of the list, or right before one."""
    at, id_ = table.c.received_at, table.c.id
    if before is not None:
        newer = or_(at > before[0], id_ > before[1])
        return statement.where(at >= before[0], newer).order_by(at, id_)
    if after is not None:
        statement = statement.where(at <= after[0], or_(at < after[0], id_ < after[1]))
    return statement.order_by(at.desc(), id_.desc())


def page(rows: Iterable[Any], before: Key | None, limit: int) -> Sequence[Any]:
    """Put together what several ways have found: one page, the newest first."""
    newest_first = sorted(rows, key=lambda row: (row.received_at, row.id), reverse=True)
    return newest_first[-limit:] if before is not None else newest_first[:limit]
