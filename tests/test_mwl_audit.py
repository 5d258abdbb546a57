"""The audit trail as it is read: filters, pages, exports, and what a million events cost."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from mwl import audit
from mwl.audit import Action, Actor, Event, Wanted
from mwl.db import Database
from mwl.db.tables import AuditEvent
from tests.plans import plan_of

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ALL = Wanted()
TABLE: Any = AuditEvent.__table__  # type: ignore[attr-defined]


def record(database: Database, *rows: dict[str, Any]) -> None:
    """Record events, a second apart, the earliest first."""
    blank = {"who": "anna", "role": "viewer", "address": "10.0.0.1", "action": "view"}
    filled = [
        {**blank, "at": NOW + timedelta(seconds=i), "subject": "order:1", "detail": {}, **row}
        for i, row in enumerate(rows)
    ]
    database.write(lambda session: session.connection().execute(insert(TABLE), filled))


def listed(database: Database, wanted: Wanted = ALL, **place: Any) -> list[str]:
    with database.read() as session:
        rows = audit.listing(session, wanted, **{"limit": 100, **place})
        return [row.subject for row in rows]


def test_events_are_found_by_each_filter_and_by_all(database: Database) -> None:
    wanted = Wanted("berta", "change", "order:2", "10.0.0.2", NOW, NOW + timedelta(seconds=2))
    record(
        database,
        {"subject": "before", "at": NOW - timedelta(seconds=1)},
        {"who": "berta", "action": "change", "subject": "order:2", "address": "10.0.0.2"},
        {"subject": "at the end", "at": wanted.until},
    )
    for name in ("who", "action", "subject", "address"):
        one = Wanted(**{name: getattr(wanted, name)})
        assert listed(database, one) == ["order:2"], name
    assert listed(database, Wanted(since=wanted.since, until=wanted.until)) == ["order:2"]
    assert listed(database, wanted) == ["order:2"]
    assert listed(database, Wanted(who="Berta")) == []
    assert listed(database) == ["at the end", "order:2", "before"]


def test_pages_meet_without_gap_even_where_events_share_their_instant(database: Database) -> None:
    record(database, *({"subject": f"order:{i}", "at": NOW} for i in range(7)))
    with database.read() as session:
        first = audit.listing(session, Wanted(), limit=3)
        after = (first[-1].at, first[-1].id)
        second = audit.listing(session, Wanted(), after=after, limit=3)
        before = (second[0].at, second[0].id)
        back = audit.listing(session, Wanted(), before=before, limit=2)
    assert [row.subject for row in [*first, *second]] == [f"order:{i}" for i in (6, 5, 4, 3, 2, 1)]
    assert [row.subject for row in back] == ["order:5", "order:4"]


def test_an_export_gives_every_event_once_the_earliest_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_PAGE_ROWS", 3)
    record(database, *({"subject": f"order:{i}", "at": NOW} for i in range(7)))
    record(database, {"who": "berta", "subject": "hers"})
    told = [row.subject for row in audit.export(database, Wanted(who="anna"))]
    assert told == [f"order:{i}" for i in range(7)]


def test_what_is_recorded_is_bounded_and_read_back(database: Database) -> None:
    detail = {"text": "<b>", "names": ["Müller^Änne"]}
    event = Event(Action.CHANGE, "order:" + "7" * 999, detail)
    database.write(
        lambda session: audit.record(session, Actor("a" * 999, "admin", "::1"), event, now=NOW)
    )
    with database.read() as session:
        (row,) = audit.listing(session, Wanted(), limit=2)
    assert (len(row.who), len(row.subject)) == (256, 256)
    assert (row.at, row.detail, row.address) == (NOW, detail, "::1")


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(since=NOW, until=NOW + timedelta(days=1)),
        Wanted(who="anna"),
        Wanted(action="view"),
        Wanted(subject="order:1"),
        Wanted(address="10.0.0.1"),
        Wanted(who="anna", action="view", since=NOW, until=NOW + timedelta(days=1)),
    ],
)
def test_no_page_walks_through_the_trail_or_sorts_it(database: Database, wanted: Wanted) -> None:
    varied = (
        {"who": who, "subject": f"order:{i % 3}", "address": f"10.0.0.{i % 9}", "action": action}
        for i in range(500)
        for who in ("anna", "berta")
        for action in ("view", "change", "cancel")
    )
    record(database, *varied)
    # As autovacuum does, and mwl.db.maintenance.
    database.write(lambda session: session.connection().exec_driver_sql("ANALYZE"))
    for place in ({}, {"after": (NOW, 3)}, {"before": (NOW, 3)}):
        plan = plan_of(database, lambda session, p=place: listed_by(session, wanted, p))
        assert "ix_audit_event" in plan, plan
        assert "Sort" not in plan, plan
        assert "TEMP B-TREE" not in plan, plan


def listed_by(session: Any, wanted: Wanted, place: dict[str, Any]) -> None:
    audit.listing(session, wanted, limit=51, **place)


def test_failed_sign_ins_are_counted_by_index(database: Database) -> None:
    rows = ({"action": "sign-in failed", "address": f"10.0.0.{i % 5}"} for i in range(50))
    record(database, *rows)
    plan = plan_of(database, lambda s: audit.failed_sign_ins(s, "10.0.0.1", since=NOW))
    assert "ix_audit_event" in plan, plan
    with database.read() as session:
        assert audit.failed_sign_ins(session, "10.0.0.1", since=NOW) == 10
