"""Prepared statements do what SQLAlchemy's execute() does, and column types hold."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, StatementError

from mwl.db import Prepared
from mwl.db.maintenance import optimize
from mwl.db.tables import Device, Knock, Message

DEVICE, KNOCK, MESSAGE = Device.__table__, Knock.__table__, Message.__table__
NOW = datetime(2026, 3, 1, 9, 30, 15, 123456, tzinfo=UTC)


def inserting(table):
    names = [column.name for column in table.c if column.name != "id"]
    return insert(table).values({name: bindparam(name) for name in names}).returning(table.c.id)


def a_device(title, **also):
    blank = dict.fromkeys(
        (
            *("host", "modality", "station_name", "location", "origin", "commit_report"),
            *("seen_address", "certificate", "zone", "close_images"),
        ),
        "",
    )
    times = {"created_at": NOW, "updated_at": NOW, "seen_at": None}
    flat = {"port": 104, "may": ["find"], "mpps": True, "tls": False, "oddities": []}
    flat |= {"aliases": [], "worklist": {}, "characters": {}, "revision": 0}
    return {"ae_title": title, **blank, **flat, **times, **also}


A_MESSAGE = {
    **dict.fromkeys(("source", "peer", "control_id", "type", "state", "ack_code", "error"), ""),
    **dict.fromkeys(("patient_id", "accession_number", "listener", "profile"), ""),
    "received_at": NOW,
    "changes": {"order:1": {"status": ["", "ä"]}},
    "replay_of": None,
    "flags": [{"ä": None}],
    "encoding": "",
    "repeats": 3,
    "content_hash": b"\x00\xff",
    "raw": b"MSH|\r\x00",
    "ack": b"",
    "repeated_at": None,
    "imaging_order": None,
    "patient": None,
}
INSERT = Prepared(inserting(DEVICE))
BY_TITLE = Prepared(select(DEVICE).where(DEVICE.c.ae_title == bindparam("title")))


def test_rows_come_back_as_sqlalchemy_reads_them(database):
    row = database.write(lambda s: Prepared(inserting(MESSAGE)).scalar(s.connection(), A_MESSAGE))
    with database.read() as session:
        (ours,) = Prepared(select(MESSAGE)).all(session.connection(), {})
        theirs = session.connection().execute(select(MESSAGE)).one()
    assert ours._asdict() == theirs._asdict() == {"id": row, **A_MESSAGE}


def test_booleans_and_nulls_keep_their_types(database):
    knock = {"calling_ae_title": "A", "called_ae_title": "B", "address": "C", "count": 1}
    times = {"first_at": NOW, "last_at": NOW}
    add = Prepared(inserting(KNOCK))
    database.write(lambda s: add.scalar(s.connection(), {**knock, **times, "admitted": True}))
    with database.read() as session:
        assert Prepared(select(KNOCK)).first(session.connection(), {}).admitted is True


def test_nothing_found_is_none_or_an_empty_list(database):
    with database.read() as session:
        conn = session.connection()
        assert BY_TITLE.all(conn, {"title": "CT1"}) == []
        assert BY_TITLE.first(conn, {"title": "CT1"}) is None
        assert BY_TITLE.scalar(conn, {"title": "CT1"}) is None


def test_values_in_the_statement_are_kept_beside_those_that_are_given(database):
    statement = Prepared(
        select(DEVICE.c.ae_title, func.count().label("several"))
        .where(DEVICE.c.port == 104, DEVICE.c.created_at <= bindparam("until"))
        .where(DEVICE.c.host == "")
        .group_by(DEVICE.c.ae_title)
    )
    database.write(lambda s: INSERT.scalar(s.connection(), a_device("CT1")))
    database.write(lambda s: INSERT.scalar(s.connection(), a_device("CT2", port=11112)))
    with database.read() as session:
        assert statement.all(session.connection(), {"until": NOW}) == [("CT1", 1)]
        early = {"until": NOW - timedelta(microseconds=1)}
        assert statement.all(session.connection(), early) == []


def test_a_change_tells_how_many_rows_it_changed(database):
    move = Prepared(update(DEVICE).values(host=bindparam("new")).where(DEVICE.c.port == 104))
    forget = Prepared(delete(DEVICE).where(DEVICE.c.ae_title == bindparam("title")))

    def work(session):
        conn = session.connection()
        for title in ("CT1", "CT2"):
            INSERT.scalar(conn, a_device(title))
        return move.run(conn, {"new": "a"}), forget.run(conn, {"title": "CT1"})

    assert database.write(work) == (2, 1)


def test_an_error_is_sqlalchemys_and_undoes_the_work(database):
    def twice(session):
        INSERT.scalar(session.connection(), a_device("CT1"))
        INSERT.scalar(session.connection(), a_device("CT1"))

    with pytest.raises(IntegrityError):
        database.write(twice)
    with database.read() as session:
        assert BY_TITLE.first(session.connection(), {"title": "CT1"}) is None


def test_a_value_that_is_missing_is_named(database):
    with database.read() as session, pytest.raises(KeyError, match="title"):
        BY_TITLE.all(session.connection(), {})


WITH_DEFAULT = Table("t", MetaData(), Column("a", Integer, default=lambda: 1), Column("b", Integer))


@pytest.mark.parametrize(
    "statement",
    [
        select(DEVICE).where(DEVICE.c.port.in_(bindparam("ports", expanding=True))),
        select(DEVICE).where(DEVICE.c.port.in_([1, 2])),
        insert(WITH_DEFAULT).values(b=bindparam("b")),
    ],
)
def test_what_cannot_be_prepared_is_refused(database, statement):
    with database.read() as session, pytest.raises(TypeError, match="can't be prepared"):
        Prepared(statement).all(session.connection(), {"ports": [1], "b": 1})


ZONES = st.one_of(
    st.just(UTC),
    st.just(ZoneInfo("Europe/Zurich")),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
INSTANTS = st.lists(
    st.datetimes(datetime(1850, 1, 1), datetime(2150, 1, 1), timezones=ZONES),  # noqa: DTZ001
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(instants=INSTANTS)
def test_instants_come_back_as_utc_in_their_order(database, instants):
    def work(session):
        conn = session.connection()
        conn.execute(delete(DEVICE))
        for number, instant in enumerate(instants):
            INSERT.scalar(conn, a_device(f"AE{number}", created_at=instant))
        rows = conn.execute(select(DEVICE.c.created_at).order_by(DEVICE.c.created_at))
        return [row.created_at for row in rows]

    back = database.write(work)
    assert back == sorted(instant.astimezone(UTC) for instant in instants)
    assert {instant.tzinfo for instant in back} == {UTC}


def test_a_naive_time_is_refused(database):
    naive = a_device("CT1", created_at=datetime(2026, 3, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="naive"):
        database.write(lambda s: INSERT.scalar(s.connection(), naive))
    with pytest.raises(StatementError, match="naive"):
        database.write(lambda s: s.connection().execute(inserting(DEVICE), naive))


def test_maintenance_folds_the_log_and_leaves_the_rows(sqlite_database):
    sqlite_database.write(lambda s: INSERT.scalar(s.connection(), a_device("CT1")))
    log = sqlite_database.path.with_name("mwl.db-wal")
    assert log.stat().st_size > 0
    optimize(sqlite_database)
    assert log.stat().st_size == 0
    with sqlite_database.read() as session:
        assert BY_TITLE.first(session.connection(), {"title": "CT1"}).may == ["find"]
