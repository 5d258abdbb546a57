from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from mwl import outbox
from mwl.config import Destination as Table
from mwl.db.tables import Delivery
from mwl.outbox import Destination, Destinations, Kind, State, claims, clearing
from tests.plans import plan_of
from tests.worklist_rows import insert_items, item

NOW = datetime(2030, 1, 2, 10, 0, tzinfo=UTC)
ALL = Destinations((Destination("ris"),))


def rows(database):
    with database.read() as session:
        return session.connection().execute(select(Delivery.__table__).order_by("id")).all()


def an_order(database, **values):
    database.write(lambda session: insert_items(session, [item(**values)]))
    return 1


def tell(database, told, event="IP", **more):
    database.write(lambda session: outbox.status_facts(session, told, 1, event, NOW, **more))


def test_a_fact_holds_what_was_true_then(database):
    order = an_order(database, order={"filler_number": "F1", "filler_issuer": "RIS^1.2^ISO"})
    tell(database, ALL)
    (row,) = rows(database)
    assert (row.kind, row.destination, row.subject) == ("order_status", "ris", f"order:{order}")
    assert (row.state, row.attempts, row.body, row.next_at) == (State.WAITING, 0, b"", NOW)
    fact = row.payload
    assert (fact["event"], fact["at"]) == ("IP", NOW.isoformat())
    assert fact["order"]["filler_issuer"] == "RIS^1.2^ISO"
    assert fact["patient"]["patient_id"] == "P1"
    (procedure,) = fact["procedures"]
    assert procedure["accession_number"] == "ACC1"
    assert [step["sps_id"] for step in procedure["steps"]] == ["SPS1"]


@pytest.mark.parametrize(
    ("destination", "event", "source", "cause", "wanted"),
    [
        (Destination("ris"), "IP", "RIS^A", None, True),
        (Destination("ris"), "CLOSED", "RIS^A", None, False),
        (Destination("ris", sources=frozenset({"RIS^A"})), "CM", "RIS^A", None, True),
        (Destination("ris", sources=frozenset({"RIS^B"})), "CM", "RIS^A", None, False),
        (Destination("ris", sources=frozenset({"RIS^*"})), "CM", "RIS^A", None, True),
        (Destination("ris", sources=frozenset({"RIS^*"})), "CM", "HIS^A", None, False),
        (Destination("ris", sources=frozenset({"RIS^*"})), "CM", "RIS^A", "RIS^B", False),
        (Destination("ris", sources=frozenset({"RIS^A"})), "CM", "RIS^A", "RIS^A", False),
        (Destination("ris", sources=frozenset({"RIS^A"})), "CM", "RIS^A", "HIS^A", True),
        (Destination("ris", peer="RIS^A"), "CM", "HIS^A", "RIS^A", False),
        (Destination("ris", peer="RIS"), "CM", "HIS^A", "RIS^A", False),
        (Destination("ris", peer="RIS^B"), "CM", "HIS^A", "RIS^A", True),
        (Destination("ris"), "CM", "HIS^A", "RIS^A", False),
    ],
)
def test_who_hears_of_what(destination, event, source, cause, wanted):
    assert destination.wants(event, source, cause) is wanted


def test_destinations_come_from_the_settings():
    table = Table(name="ris", host="h", port=1, sources=("RIS^",), application="X^1.2^ISO")
    (made,) = Destinations.of([table]).all
    assert made == Destination("ris", frozenset({"IP", "CM", "DC", "CA"}), frozenset({"RIS"}), "X")


def test_nobody_is_told_of_what_nobody_wants(database):
    an_order(database)
    tell(database, ALL, "CLOSED")
    tell(database, Destinations())
    tell(database, ALL, cause="TEST")
    assert rows(database) == []


def test_each_destination_gets_a_delivery(database):
    an_order(database)
    tell(database, Destinations((Destination("a"), Destination("b"))), start="20300102090000")
    assert [row.destination for row in rows(database)] == ["a", "b"]
    assert rows(database)[0].payload["performed"]["start"] == "20300102090000"


def test_what_is_undone_is_told_nobody(database):
    an_order(database)

    def work(session):
        outbox.status_facts(session, ALL, 1, "IP", NOW)
        raise KeyError

    with pytest.raises(KeyError):
        database.write(work)
    assert rows(database) == []


def test_numbers_grow_with_time_across_connections(postgresql_database):
    def put(session, subject):
        outbox.enqueue(
            session,
            kind=Kind.ORDER_STATUS,
            destination="ris",
            subject=subject,
            payload={},
            now=NOW,
        )

    def nested(session):
        session.connection()
        postgresql_database.write(lambda inner: put(inner, "second"))
        put(session, "third")

    postgresql_database.write(lambda session: put(session, "first"))
    postgresql_database.write(nested)
    assert [row.subject for row in rows(postgresql_database)] == ["first", "second", "third"]


def test_what_a_subject_was_told_is_found_however_much_its_destination_was(sqlite_database):
    """Where SQLite has counted no rows, too: so a fresh machine is in its first hours."""

    def tell(session, *subjects):
        for subject in subjects:
            told = {"kind": Kind.MPPS, "destination": "dose", "payload": {}, "now": NOW}
            outbox.enqueue(session, subject=subject, **told)

    sqlite_database.write(lambda s: tell(s, *(f"mpps:{number}" for number in range(2_000))))
    steps = []

    def work(session):
        driver = session.connection().connection.dbapi_connection
        driver.set_progress_handler(lambda: steps.append(1), 100)
        try:
            tell(session, "mpps:1")
            claims.line_up(session.connection(), claims.Channel(Kind.MPPS, "dose"), "mpps:1")
            assert not outbox.is_withheld(session, "dose", "mpps:1")
        finally:
            driver.set_progress_handler(None, 0)

    sqlite_database.write(work)
    assert len(steps) < 20


def test_what_was_forwarded_is_found_however_much_else_was_told(sqlite_database):
    assert {*outbox.AS_IT_CAME} == {"forward", "mpps"}  # as its index says it
    for asked in (clearing._systems, lambda session: clearing._old(session, "dose", NOW)):
        assert "ix_delivery_as_it_came" in plan_of(sqlite_database, asked)
