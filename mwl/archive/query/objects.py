"""Find where the bytes of instances are."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Select, bindparam, func, select
from sqlmodel import Session

from mwl.archive.following import IDENTITY
from mwl.archive.query.conditions import Shapes, conditions, parameters_of, shapes_of
from mwl.archive.query.model import Level
from mwl.archive.query.tables import MAIN, OBJECT
from mwl.db import Prepared
from mwl.matching import AnyOf, Matcher, Single
from mwl.studies import ObjectState

PAGE_ROWS: Final = 500
_STATEMENTS_KEPT: Final = 64
# UIDs that one statement asks for; lists are filled up to one of these, to share statements.
_LIST_SIZES: Final = (1, 4, 16, 64, 256)

_i, _o = MAIN.instance.c, OBJECT.c


class Kind(NamedTuple):
    """So many instances of a SOP class that are kept in a transfer syntax."""

    sop_class_uid: str
    transfer_syntax: str
    instances: int


class Stored(Protocol):
    """Where an instance's bytes are: `data_set_offset` is where they begin in the object.

    `identity`: whom they are to show when they go out, as `mwl.studies.Identity.of` reads it;
    None, as is usual: whom they say.
    """

    sop_class_uid: str
    sop_instance_uid: str
    key: str
    transfer_syntax: str
    size: int
    data_set_offset: int
    identity: str | None
    row: int


def kinds(session: Session, keys: Mapping[str, Matcher]) -> Sequence[Kind]:
    """Count the instances that `keys` match, of each SOP class and transfer syntax."""
    conn = session.connection()
    dialect = conn.dialect.name
    rows = _objects(dialect, shapes_of(keys), True).all(conn, parameters_of(keys, dialect))
    return [Kind(*row) for row in rows]


def objects(
    session: Session, keys: Mapping[str, Matcher], *, after: int = 0, limit: int = PAGE_ROWS
) -> Sequence[Stored]:
    """Read where the bytes of matching instances are: the first `limit` after `after`.

    `row` of the last one is the `after` of the next page.
    """
    conn = session.connection()
    dialect = conn.dialect.name
    statement = _objects(dialect, shapes_of(keys), False)
    return statement.all(conn, {**parameters_of(keys, dialect), "limit": limit, "after": after})


def uid_lists(uids: Sequence[str]) -> Iterator[Matcher]:
    """Make matchers of a list of UIDs of any length, each within what a statement takes."""
    different = list(dict.fromkeys(uids))
    most = _LIST_SIZES[-1]
    for start in range(0, len(different), most):
        part = different[start : start + most]
        size = next(each for each in _LIST_SIZES if each >= len(part))
        part += part[-1:] * (size - len(part))
        choices = tuple(map(Single, part))
        yield choices[0] if size == 1 else AnyOf(choices)


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _objects(dialect: str, shapes: Shapes, counted: bool) -> Prepared:
    rows = MAIN.at(Level.IMAGE).join(OBJECT, _o.instance == _i.id)
    where = [_o.state == ObjectState.SERVED, *conditions(Level.IMAGE, shapes, dialect)]
    if counted:
        kind = _i.sop_class_uid, _o.transfer_syntax
        counts: Select[Any] = select(*kind, func.count().label("instances"))
        return Prepared(counts.select_from(rows).where(*where).group_by(*kind).order_by(*kind))
    wanted: Select[Any] = select(
        _i.sop_class_uid,
        _i.sop_instance_uid,
        _o.key,
        _o.transfer_syntax,
        _o.size,
        _o.data_set_offset,
        IDENTITY,
        _i.id.label("row"),
    )
    return Prepared(
        wanted.select_from(rows)
        .where(_i.id > bindparam("after"), *where)
        .order_by(_i.id)
        .limit(bindparam("limit"))
    )
