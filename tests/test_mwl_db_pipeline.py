"""Statements that are sent before their answers are read; on SQLite they are answered at once."""

from datetime import UTC
from typing import Any

import pytest
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.exc import DataError, IntegrityError

from mwl import journal, worklist
from mwl.db import Insertion, Prepared, pipeline
from mwl.journal import Received, Settled, State
from mwl.patients import Identifier
from tests.test_mwl_db_prepared import DEVICE
from tests.test_mwl_db_write import NOW, titles
from tests.test_mwl_worklist_apply import order, procedure

SETTINGS: dict[str, Any] = {"aliases": [], "worklist": {}, "characters": {}, "revision": 1}
INSERT = Insertion(DEVICE, may=[], mpps=True, tls=False, oddities=[], **SETTINGS)
TIMES = {"created_at": NOW, "updated_at": NOW}
BY_TITLE = Prepared(select(DEVICE).where(DEVICE.c.ae_title == bindparam("title")))
KILL = Prepared(select(func.pg_terminate_backend(func.pg_backend_pid()).label("killed")))


class Doubled(Exception):
    pass


def adds(conn, title, duplicate=None):
    return INSERT.send(conn, {"ae_title": title, "port": 104, **TIMES}, duplicate)


def test_what_is_not_given_is_empty_and_numbers_lead_to_rows(database):
    rows = database.write(lambda s: [adds(s.connection(), f"CT{n}") for n in range(70)])
    assert len(set(rows)) == 70
    with database.read() as session:
        found = session.connection().execute(select(DEVICE.c.id, DEVICE.c.ae_title)).all()
        assert dict(map(tuple, found)) == {row: f"CT{n}" for n, row in enumerate(rows)}
        one = BY_TITLE.first(session.connection(), {"title": "CT1"})
    assert (one.host, one.location, one.may) == ("", "", [])


def test_answers_come_in_any_order_in_which_they_are_read(database):
    def work(session):
        conn = session.connection()
        adds(conn, "CT1")
        asked = [BY_TITLE.send(conn, {"title": f"CT{n}"}) for n in (2, 1)]
        adds(conn, "CT2")
        return [reply.first() and reply.first().ae_title for reply in reversed(asked)]

    assert database.write(work) == ["CT1", None]


def test_statements_of_sqlalchemy_go_behind_what_was_sent(database):
    def work(session):
        adds(session.connection(), "CT1")
        return session.connection().execute(select(DEVICE.c.ae_title)).scalars().all()

    assert database.write(work) == ["CT1"]


def test_an_error_nobody_reads_comes_out_of_write_and_undoes_the_work(database):
    def twice(session):
        adds(session.connection(), "CT1")
        adds(session.connection(), "CT1")

    with pytest.raises(IntegrityError):
        database.write(twice)
    assert titles(database) == set()


def test_a_duplicate_is_told_in_the_words_of_who_sent_it_and_of_nobody_else(database):
    def twice(*duplicates):
        def work(session):
            for duplicate in duplicates:
                adds(session.connection(), "CT1", duplicate)
            BY_TITLE.first(session.connection(), {"title": "CT1"})

        return work

    with pytest.raises(Doubled):
        database.write(twice(None, Doubled))
    with pytest.raises(IntegrityError):
        database.write(twice(Doubled, None, Doubled))
    assert titles(database) == set()


def test_what_work_raises_leaves_nothing_of_what_it_sent(database):
    def fails(session):
        adds(session.connection(), "CT1")
        raise Doubled

    with pytest.raises(Doubled):
        database.write(fails)
    database.write(lambda s: adds(s.connection(), "CT2"))
    assert titles(database) == {"CT2"}


def test_more_is_sent_than_one_flight_takes(database):
    count = 3 * pipeline._LONGEST_FLIGHT
    database.write(lambda s: [adds(s.connection(), f"CT{n}") for n in range(count)] and None)
    assert len(titles(database)) == count


def test_a_statement_that_a_failed_flight_took_along_can_be_sent_again(postgresql_database):
    fresh = Prepared(select(DEVICE.c.port))

    def fails(session):
        adds(session.connection(), "CT1")
        adds(session.connection(), "CT1")
        fresh.all(session.connection(), {})

    with pytest.raises(IntegrityError):
        postgresql_database.write(fails)
    assert postgresql_database.write(lambda s: fresh.all(s.connection(), {})) == []


def test_a_value_that_cannot_be_sent_undoes_the_work(postgresql_database):
    def work(session):
        adds(session.connection(), "CT1")
        adds(session.connection(), "CT\0")

    with pytest.raises(DataError):
        postgresql_database.write(work)
    assert titles(postgresql_database) == set()


def test_the_server_keeps_a_bounded_number_of_statements(postgresql_database, monkeypatch):
    monkeypatch.setattr(pipeline, "_MOST_KEPT", 3)
    statements = [Prepared(select(func.count()).where(DEVICE.c.port == n)) for n in range(5)]

    def work(session):
        conn = session.connection()
        counts = [each.scalar(conn, {}) for each in statements * 2]
        kept = conn.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar()
        return counts, kept

    assert postgresql_database.write(work) == ([0] * 10, 3)


def test_a_connection_lost_with_statements_under_way_is_replaced_once(postgresql_database):
    runs = []

    def work(session):
        runs.append(1)
        adds(session.connection(), "CT1")
        if len(runs) == 1:
            KILL.send(session.connection(), {})
        adds(session.connection(), "CT2")

    postgresql_database.write(work)
    assert len(runs) == 2
    assert titles(postgresql_database) == {"CT1", "CT2"}


def test_an_order_is_two_flights(postgresql_database, monkeypatch):
    flights = []
    land = pipeline.Pipeline._land

    def counting(self, flight, failed):
        flights.append(len(flight))
        return land(self, flight, failed)

    def work(number):
        change = order(number=Identifier(number), procedures=[procedure(uid=f"1.2.{number}")])
        received = Received(NOW, "peer", b"raw", journal.digest(b"raw"), control_id=number)
        settled = Settled(State.APPLIED, "AA", b"ack")
        return lambda session: (
            worklist.apply(session, change, now=NOW, zone=UTC),
            journal.record(session, received, settled),
        )

    postgresql_database.write(work("1"))  # prepares the statements and reserves numbers
    monkeypatch.setattr(pipeline.Pipeline, "_land", counting)
    postgresql_database.write(work("2"))
    # BEGIN, locks, order, patient, devices; order, procedure, step, message, COMMIT.
    assert flights == [5, 5]
