"""Browse the worklist, as people do: a day, a scanner's list, a patient who can't be found.

The rules that this module bears:

1. A day is the site's. Its entries come by their start; where no day is given, the latest
   first. `Sort.CHANGED` puts what has changed last at the top.
2. A device's list is what `mwl.worklist.find` would answer it with, for its usual query.
3. A text is a patient ID, an accession, placer or filler number as a whole, or the
   beginning of a name in any of its scripts, as scanners find names.
4. EXPIRED, CLOSED and IN_PROGRESS are states of orders; the others those of steps. What has
   expired is EXPIRED here, whatever its step's state.

What is rare is looked for by its own index first, and the entries that it leads to are read
by number; what is common comes up soon enough where the entries are walked in their order.
So neither a common name nor a rare flag makes a page read the whole worklist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
    union,
)
from sqlmodel import Session

from mwl import matching
from mwl.db.matching import condition, parameters, shape
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import OrderState, StepState
from mwl.patients import name_key
from mwl.shortened import known_as
from mwl.worklist import asking
from mwl.worklist.find import criteria
from mwl.worklist.ways import IS_CURRENT

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_p, _o, _r, _s = _PATIENT.c, _ORDER.c, _PROCEDURE.c, _STEP.c

_FEW: Final = 2_000  # entries that are read and sorted sooner than a list is walked
_HIGHEST: Final = 2**31 - 1
_BEHIND_ALL = "\U0010ffff"
_LATIN_ENDS = "\u024f"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# As the partial indexes say it.
_IS_FLAGGED = text("imaging_order.flags <> '[]'")
_IS_EXPIRED = text("scheduled_step.expired")
_IS_UNDER_WAY = text("imaging_order.status IN ('IN_PROGRESS', 'COMPLETED')")
_ENTRIES = (
    _STEP.join(_PROCEDURE, _r.id == _s.procedure)
    .join(_ORDER, _o.id == _r.imaging_order)
    .join(_PATIENT, _p.id == _o.patient)
)

State = StepState | OrderState
# States that only orders have; the others are looked for in steps.
_OF_ORDERS = frozenset({OrderState.IN_PROGRESS, OrderState.EXPIRED, OrderState.CLOSED})
_UNDER_WAY = frozenset({OrderState.IN_PROGRESS, StepState.COMPLETED})


class Sort(StrEnum):
    """How a list is ordered."""

    START = "start"
    LATEST = "latest"  # start, the last first
    CHANGED = "changed"  # the newest change first


_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; all that is given must hold. `day` is a DA, "" any day.

    `zone` is the site's: a device may be shown what begins around now.
    """

    day: str = ""
    device: str = ""  # an AE title: what that one would be answered
    modality: str = ""
    state: State | None = None
    text: str = ""
    flagged: bool = False
    sort: Sort = Sort.START
    zone: ZoneInfo = _UTC


class Item(NamedTuple):
    """A scheduled step with its order, as a list shows it; `imaging_order` is a row's number."""

    id: int
    imaging_order: int
    source: str
    patient_id: str
    issuer: str
    patient_name: str
    birth_date: str
    sex: str
    accession_number: str
    procedure: str
    description: str
    modality: str
    station_ae_titles: str
    start_at: datetime
    start_local: str
    sps_id: str
    state: str
    state_at: datetime
    expired: bool
    status: str
    flags: list[str]
    updated_at: datetime

    @property
    def shown_state(self) -> str:
        """The state for people: what has become of the order, where that says more."""
        if self.expired:
            return OrderState.EXPIRED
        if self.status == OrderState.CLOSED and self.state == StepState.COMPLETED:
            return OrderState.CLOSED
        return self.state

    @property
    def stations(self) -> list[str]:
        """The AE titles that it is scheduled on; none: any of its modality."""
        return self.station_ae_titles.split("\\") if self.station_ae_titles else []

    def place(self, sort: Sort) -> tuple[str, int]:
        """Give the keys by which a list goes on after this entry."""
        if sort is Sort.CHANGED:
            return str((self.updated_at - _EPOCH) // timedelta(microseconds=1)), self.id
        return self.start_local, self.id


_COLUMNS: tuple[ColumnElement[Any], ...] = (
    _s.id,
    _o.id.label("imaging_order"),
    _o.source,
    _p.patient_id,
    _p.issuer,
    _p.patient_name,
    _p.birth_date,
    _p.sex,
    _r.accession_number,
    _r.description.label("procedure"),
    _s.description,
    _s.modality,
    _s.station_ae_titles,
    _s.start_at,
    _s.start_local,
    _s.sps_id,
    _s.state,
    _s.state_at,
    _s.expired,
    _o.status,
    _o.flags,
    _o.updated_at,
)


def page(  # noqa: PLR0913 - what, when, from where on, which way, how many
    session: Session,
    wanted: Wanted,
    *,
    now: datetime,
    at: tuple[str, ...] = (),
    backwards: bool = False,
    limit: int = 50,
) -> list[Item]:
    """Read a page of entries: those after `at`, the keys of an entry, or before it.

    Raises Rejected (MALFORMED) for a day or keys that are none.
    """
    conn = session.connection()
    statement = select(*_COLUMNS).select_from(_ENTRIES).limit(limit)
    statement, values = _narrowed(session, statement, wanted, now)
    statement = _ordered(statement, wanted.sort, at, backwards)
    rows = [Item(*row) for row in conn.execute(statement, values)]
    return rows[::-1] if backwards else rows


def counts(session: Session, wanted: Wanted, *, now: datetime) -> dict[State, int]:
    """Count a day's entries by their state, whatever state is wanted.

    EXPIRED and CLOSED are counted beside the states of steps, which hold the rest.
    """
    expired, closed = _IS_EXPIRED, _o.status == OrderState.CLOSED
    statement = (
        select(_s.state, literal_column("scheduled_step.expired"), closed, func.count())
        .select_from(_ENTRIES)
        .group_by(_s.state, expired, closed)
    )
    statement, values = _narrowed(session, statement, replace(wanted, state=None), now)
    found: dict[State, int] = {}
    for name, is_expired, is_closed, count in session.connection().execute(statement, values):
        state: State = StepState(name)
        if is_expired:
            state = OrderState.EXPIRED
        elif is_closed and state is StepState.COMPLETED:
            state = OrderState.CLOSED
        found[state] = found.get(state, 0) + count
    return found


def one(session: Session, step: int) -> Item | None:
    """Read an entry; None: there is none of this number."""
    statement = select(*_COLUMNS).select_from(_ENTRIES).where(_s.id == step)
    row = session.connection().execute(statement).first()
    return Item(*row) if row else None


def modalities(session: Session) -> list[str]:
    """List the modalities on the worklist, skipping from one to the next by their index."""
    conn = session.connection()
    found: list[str] = []
    following = select(func.min(_s.modality)).where(_s.modality > bindparam("last"))
    last = conn.scalar(following, {"last": ""})
    while last is not None and len(found) < 100:
        found.append(last)
        last = conn.scalar(following, {"last": last})
    return found


# ---- what is wanted ------------------------------------------------------------------


def _narrowed(
    session: Session, statement: Select[Any], wanted: Wanted, now: datetime
) -> tuple[Select[Any], dict[str, Any]]:
    conn = session.connection()
    values: dict[str, Any] = {}
    if wanted.day:
        statement = statement.where(_s.start_local.between(*_span(wanted.day)))
    if wanted.modality:
        statement = statement.where(_s.modality == wanted.modality)
    if wanted.device:
        device = asking.known(session, wanted.device)
        title = device.ae_title if device else wanted.device
        asker = asking.caller(device, title, now=now, zone=wanted.zone)
        query = asking.usual_query(asker, wanted.day, device, wanted.zone)
        conditions, values = criteria(query, conn.dialect.name, now)
        statement = statement.where(*conditions)
    if wanted.state is not None:
        statement = _in_state(statement, wanted.state)
    few = None if wanted.day else _few(conn, wanted)
    if few is not None:
        statement = statement.where(_s.id.in_(few))
    if wanted.flagged:
        statement = statement.where(_IS_FLAGGED)
    if wanted.text:
        condition_, more = _told(wanted.text, conn.dialect.name)
        statement, values = statement.where(condition_), {**values, **more}
    return statement, values


def _span(day: str) -> tuple[str, str]:
    try:
        datetime.strptime(day, "%Y%m%d")  # noqa: DTZ007 - a DA has no zone
    except ValueError:
        day = ""
    if len(day) != 8:
        raise Rejected(Fault(Reason.MALFORMED, "day", "is written YYYY-MM-DD"))
    return f"{day}000000", f"{day}235959"


def _in_state(statement: Select[Any], state: State) -> Select[Any]:
    if state is OrderState.EXPIRED:
        return statement.where(_IS_EXPIRED)
    if state is OrderState.CLOSED:
        completed = _s.state == StepState.COMPLETED.value
        return statement.where(completed, IS_CURRENT, _o.status == state.value)
    if state is OrderState.IN_PROGRESS:
        return statement.where(_o.status == state.value)
    statement = statement.where(_s.state == state.value, IS_CURRENT)
    if state == StepState.COMPLETED:
        return statement.where(_o.status != OrderState.CLOSED.value)
    return statement


def _told(typed: str, dialect: str) -> tuple[ColumnElement[bool], dict[str, Any]]:
    """Match an entry by what a person has typed of it."""
    either = _numbers(typed)
    choices = [
        _p.patient_id.in_(either),
        _r.accession_number.in_(either),
        _o.placer_number.in_(either),
        _o.filler_number.in_(either),
    ]
    values: dict[str, Any] = {}
    for number, key in enumerate(_name_keys(typed)):
        matcher = matching.name(f"{key}*", "text")
        choices.append(condition(_p.name_key, f"typed_{number}", shape(matcher), dialect))
        values |= parameters(f"typed_{number}", matcher, dialect)
    return or_(*choices), values


def _numbers(typed: str) -> list[str]:
    plain = typed.replace("\0", "")  # PostgreSQL's text holds none
    either = {plain, plain.upper()} - {""}
    return sorted({each for text in either for each in known_as(text)})


def _name_keys(typed: str) -> list[str]:
    """Fold the beginning of a name: "Doe, Ja", "Doe Ja" and "doe^ja" mean the same."""
    plain = typed.translate(_NO_WILDCARDS).strip(" ^")
    keys = [name_key(plain)]
    for mark in (",", " "):
        family, found, given = plain.partition(mark)
        if found:
            keys.append(name_key(f"{family.strip()}^{given.strip()}"))
    return [key for key in dict.fromkeys(keys) if key]


_NO_WILDCARDS = str.maketrans(dict.fromkeys("*?\\=\0", ""))


# ---- what is rare --------------------------------------------------------------------


def _few(conn: Connection, wanted: Wanted) -> list[int] | None:
    """Find the entries that are wanted by what is rare; None: it isn't, or nothing is."""
    for found in (
        _by_text(wanted.text) if wanted.text else None,
        _flagged() if wanted.flagged else None,
        _under_way() if wanted.state in _UNDER_WAY else None,
    ):
        if found is not None:
            rows = conn.execute(found.limit(_FEW + 1)).scalars().all()
            if len(rows) <= _FEW:
                return list(rows)
    return None


def _by_text(typed: str) -> Any:
    """Select the steps that a text names, each way by its own index."""
    either = _numbers(typed)
    of_patients = _STEP.join(_PROCEDURE, _r.id == _s.procedure).join(
        _ORDER, _o.id == _r.imaging_order
    )
    people = [
        select(_p.id).where(_p.patient_id.in_(either)),
        *(
            select(_p.id).where(_p.name_key >= key, _p.name_key < key + _BEHIND_ALL)
            for key in _name_keys(typed)
        ),
    ]
    if any(letter > _LATIN_ENDS for letter in typed):
        # The groups of other scripts stand behind, where no index leads: read its keys.
        people += [
            select(_p.id).where(_p.name_key.contains(f"={key}", autoescape=True))
            for key in _name_keys(typed)
        ]
    ways = [
        # So many people are many, whatever else is asked for.
        select(_s.id)
        .select_from(of_patients)
        .where(_o.patient.in_(select(union(*people).limit(_FEW + 1).subquery().c.id))),
        select(_s.id)
        .join(_PROCEDURE, _r.id == _s.procedure)
        .where(_r.accession_number.in_(either)),
        *(
            select(_s.id).select_from(of_patients).where(number.in_(either))
            for number in (_o.placer_number, _o.filler_number)
        ),
    ]
    return union(*ways)


def _flagged() -> Any:
    orders = select(_o.id).where(_IS_FLAGGED)
    return select(_s.id).join(_PROCEDURE, _r.id == _s.procedure).where(_r.imaging_order.in_(orders))


def _under_way() -> Any:
    """Select the steps of orders that are not over: each step that is done is of one, or CLOSED."""
    orders = select(_o.id).where(_IS_UNDER_WAY)
    return select(_s.id).join(_PROCEDURE, _r.id == _s.procedure).where(_r.imaging_order.in_(orders))


# ---- where a page begins --------------------------------------------------------------


def _ordered(
    statement: Select[Any], sort: Sort, at: tuple[str, ...], backwards: bool
) -> Select[Any]:
    key: ColumnElement[Any] = _o.updated_at if sort is Sort.CHANGED else _s.start_local
    downwards = (sort is not Sort.START) != backwards
    if at:
        value, row = _keys(sort, at)
        further = key < value if downwards else key > value
        reached = key <= value if downwards else key >= value
        behind = _s.id < row if downwards else _s.id > row
        # The first of these is for the index.
        statement = statement.where(reached, or_(further, behind))
    if downwards:
        return statement.order_by(key.desc(), _s.id.desc())
    return statement.order_by(key, _s.id)


def _keys(sort: Sort, at: Sequence[str]) -> tuple[Any, int]:
    try:
        value, number = at
        row = max(0, min(int(number), _HIGHEST))
        is_instant = sort is Sort.CHANGED
        return _EPOCH + timedelta(microseconds=int(value)) if is_instant else value, row
    except (ValueError, OverflowError):
        text_ = "is no place in this list: go to its beginning"
        raise Rejected(Fault(Reason.MALFORMED, "page", text_)) from None


def state(name: str) -> State | None:
    """Read a state's name, a step's or an order's; "" is any. Rejected: UNKNOWN_CODE."""
    if not name:
        return None
    upper = name.upper()
    if upper in StepState.__members__:
        return StepState(upper)
    if upper in OrderState.__members__:
        return OrderState(upper)
    raise Rejected(Fault(Reason.UNKNOWN_CODE, "state", "there is no such state"))


STATES: Final[Mapping[str, State]] = {
    each.value: each for each in (*StepState, *sorted(_OF_ORDERS))
}
