"""Which order a message means: by filler order number, else placer order number.

An order is known by its filler's number, else its placer's, within its sender. Messages
about it need not bring both: a cancellation may name the placer's alone, and the first
message may have come before there was a filler. Senders are not strict about namespaces
either: one that is missing on one side contradicts nothing. So what is not found under its
exact number is looked for by either, and taken only if there is no doubt.

What was imported from another worklist is waiting for its RIS: the first message that names
such an order takes it over. Each worklist that is brought in is a source of its own: two of
them may give the same accession number to two orders.
"""

from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from mwl.db import Prepared, Reply
from mwl.db.tables import ImagingOrder
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import OrderChange
from mwl.patients import Identifier
from mwl.worklist.demographics import issuer_text

Row = dict[str, Any]

_TABLE = ImagingOrder.__table__  # type: ignore[attr-defined]
IMPORTED = "import"  # the source of orders that came in files; of others "import:" and a name

_MOST = 50  # orders that share a number; more than that are no answer
_IS_IMPORTED = or_(
    _TABLE.c.source == literal_column(f"'{IMPORTED}'"),
    func.substr(_TABLE.c.source, 1, len(IMPORTED) + 1) == literal_column(f"'{IMPORTED}:'"),
)


def _known_as(name: str) -> Select[Any]:
    number = _TABLE.c[f"{name}_number"]
    return select(_TABLE).where(
        number == bindparam(name),
        or_(_TABLE.c.source == bindparam(f"{name}_source"), _IS_IMPORTED),
    )


# Each branch has an index of its own. One SELECT with OR between them would be planned as a
# walk through the table as long as that is small, and PostgreSQL's connections keep the plan.
_BY_NUMBERS = Prepared(
    union_all(
        select(_TABLE).where(
            _TABLE.c.source == bindparam("source"),
            _TABLE.c.order_number == bindparam("order_number"),
            _TABLE.c.order_namespace == bindparam("order_namespace"),
        ),
        _known_as("filler"),
        _known_as("placer"),
    ).limit(_MOST)
)


def ask(conn: Connection, change: OrderChange) -> Reply:
    """Ask for the orders that `change` may mean, without waiting for the answer."""
    return _BY_NUMBERS.send(
        conn,
        {
            **identity(change),
            # NULL is nobody's number: "" is that of all whose number is unknown.
            "filler": (change.filler.id or None) if change.filler else None,
            "placer": (change.placer.id or None) if change.placer else None,
            "filler_source": change.source,
            "placer_source": change.source,
        },
    )


def choose(asked: Reply, change: OrderChange) -> Row | None:
    """Choose the order that `change` means; None: it is not known yet.

    Raises Rejected (DUPLICATE_KEY) where several answer to its number.
    """
    # The same order may answer to all its numbers.
    rows: list[Row] = [row._asdict() for row in {row.id: row for row in asked.all()}.values()]
    exact = identity(change)
    for row in rows:
        if all(row[name] == value for name, value in exact.items()):
            return row
    likely = [row for row in rows if _is_meant(row, change)]
    if len(likely) > 1:
        text = "several orders answer to this number: give the filler order number"
        raise Rejected(Fault(Reason.DUPLICATE_KEY, change.where, text))
    return likely[0] if likely else None


def identity(change: OrderChange) -> dict[str, str]:
    """Name the columns that an order is known by."""
    return {
        "source": change.source,
        "order_number": change.number.id,
        "order_namespace": change.number.issuer_key,
    }


def stated(change: OrderChange) -> dict[str, str]:
    """Give the columns of the numbers that a message brings."""
    values = {}
    for name, number in (("placer", change.placer), ("filler", change.filler)):
        if number is not None:
            values[f"{name}_number"] = number.id
            values[f"{name}_issuer"] = issuer_text(number)
    return values


def adopted(row: Row, change: OrderChange) -> dict[str, str]:
    """Give what an order is known by from now on: the filler's number, the RIS's source."""
    has_filler_now = change.filler is not None and not row["filler_number"]
    if has_filler_now or row["source"] != change.source:
        return identity(change) | stated(change)
    return {}


def _is_meant(row: Row, change: OrderChange) -> bool:
    if row["filler_number"] and change.filler is not None:
        # One placer order may become several filler orders: theirs tell them apart.
        return _same(row, "filler", change.filler)
    return change.placer is not None and _same(row, "placer", change.placer)


def _same(row: Row, name: str, number: Identifier) -> bool:
    if row[f"{name}_number"] != number.id:
        return False
    known = set(filter(None, row[f"{name}_issuer"].split("^")[:2]))
    given = set(filter(None, (number.namespace, number.universal_id)))
    return not known or not given or bool(known & given)
