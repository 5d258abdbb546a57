"""The archive's index: what comes is stored once, and never replaces what it must not."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from mwl import archive
from mwl.archive import Outcome, known, listing
from mwl.archive.listing import quarantined
from mwl.db import Database
from mwl.db.migrate import upgrade
from mwl.db.tables import Instance, Series, StoredObject, Study
from mwl.errors import Outage, Rejected
from mwl.patients import Identifier, PatientChange, PatientMerge
from mwl.worklist import merge_patients
from tests import postgres
from tests.archive_rows import (
    JPEG_LS,
    MR,
    NOW,
    instance_uid,
    received,
    series_uid,
    study_uid,
)


def rows(database, table):
    with database.read() as session:
        statement = select(table.__table__).order_by(table.__table__.c.id)
        return session.connection().execute(statement).all()


def counts(database):
    with database.read() as session:
        tables = (Study, Series, Instance, StoredObject)
        return [session.scalar(select(func.count()).select_from(t)) for t in tables]


def states(database):
    return [row.state for row in rows(database, StoredObject)]


def store(database, *args, **more):
    return archive.store(database, received(*args, **more)).outcome


def test_the_first_image_describes_its_study_and_series(database):
    first = received(
        1,
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        StudyDescription="Head",
        StudyDate="2030.01.02",
        StudyTime="09:30:15.5",
        ReferringPhysicianName="Welby^Marcus",
        StationName="CT_A",
        BodyPartExamined="HEAD",
        NumberOfFrames="12",
        RequestAttributes=[{"AccessionNumber": "A1", "Other": "x"}, {}],
    )
    assert archive.store(database, first) == archive.Stored(Outcome.STORED, "")
    (study,) = rows(database, Study)
    assert study.study_instance_uid == study_uid(1)
    assert (study.patient_name, study.patient_id) == (
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "P1",
    )
    assert (study.study_date, study.study_time) == ("20300102", "093015.5")
    assert (study.description, study.referring_physician_key) == ("Head", "welby^marcus")
    assert (study.requested_procedure, study.matched_by, study.created_at) == (None, "", NOW)
    (series,) = rows(database, Series)
    assert (series.study, series.modality, series.station_name) == (study.id, "CT", "CT_A")
    assert series.request == [{"AccessionNumber": "A1"}]
    (instance,) = rows(database, Instance)
    assert (instance.rows, instance.columns, instance.frames) == (512, 512, 12)
    (stored,) = rows(database, StoredObject)
    assert (stored.instance, stored.state, stored.key) == (instance.id, "served", first.key)
    assert (stored.sha256, stored.size, stored.data_set_offset) == (first.sha256, 1001, 400)
    assert (stored.source, stored.patient_id, stored.received_at) == ("CT1", "P1", NOW)


def test_the_images_of_a_study_share_its_rows(database):
    for number in range(6):
        assert store(database, number, series=1 + number % 2) is Outcome.STORED
    assert counts(database) == [1, 2, 6, 6]
    uids = {row.sop_instance_uid: row.series for row in rows(database, Instance)}
    series = {row.series_instance_uid: row.id for row in rows(database, Series)}
    assert uids == {instance_uid(n): series[series_uid(1 + n % 2)] for n in range(6)}


def test_another_process_finds_what_is_there(database, database_url, tmp_path):
    store(database, 1)
    other = Database(database_url, data_dir=tmp_path)
    assert store(other, 2) is Outcome.STORED
    assert store(other, 1) is Outcome.REPEATED
    other.close()
    assert counts(database) == [1, 1, 2, 2]


def test_a_repeat_is_nothing_new_whoever_sends_it(database):
    store(database, 1)
    assert store(database, 1) is Outcome.REPEATED
    assert store(database, 1, source="WS") is Outcome.REPEATED
    assert states(database) == ["served"]


def test_the_newest_from_the_same_source_is_served(database):
    store(database, 1)
    assert store(database, 1, content="b", Rows=256) is Outcome.REPLACED
    assert store(database, 1, content="c", Rows=128) is Outcome.REPLACED
    assert states(database) == ["older", "older", "served"]
    assert [row.rows for row in rows(database, Instance)] == [128]
    # What it sends anew it means: the older bytes, which are here, are served again.
    assert store(database, 1, content="b", Rows=256) is Outcome.REPEATED
    assert states(database) == ["older", "served", "older"]
    assert [row.rows for row in rows(database, Instance)] == [256]
    assert store(database, 1, content="c", source="WS") is Outcome.REPEATED
    assert states(database) == ["older", "served", "older"]


def test_other_content_from_elsewhere_is_quarantined_once(database):
    store(database, 1)
    for _ in range(2):
        stored = archive.store(database, received(1, content="b", source="WS"))
    assert stored.outcome is Outcome.REPEATED
    assert states(database) == ["served", "quarantined"]
    (row,) = quarantined(database)
    assert (row["source"], row["sop_instance_uid"]) == ("WS", instance_uid(1))
    assert "another source" in row["reason"]


def test_the_same_picture_in_another_syntax_is_kept_beside_it(database):
    store(database, 1)
    more = {"content": "b", "source": "WS", "transfer_syntax": JPEG_LS}
    assert store(database, 1, **more) is Outcome.STORED
    assert store(database, 1, **more) is Outcome.REPEATED
    assert states(database) == ["served", "alternate"]
    assert list(quarantined(database)) == []


def test_another_class_is_quarantined(database):
    store(database, 1)
    assert store(database, 1, content="b", sop_class_uid=MR) is Outcome.QUARANTINED
    assert [row.sop_class_uid for row in rows(database, Instance)] != [MR]


@pytest.mark.parametrize("where", [{"series": 2}, {"study": 2}, {"study": 2, "series": 2}])
def test_an_instance_known_in_another_series_is_quarantined_without_a_trace(database, where):
    store(database, 1)
    stored = archive.store(database, received(1, **where))
    assert stored.outcome is Outcome.QUARANTINED
    assert "another series" in stored.reason
    assert counts(database) == [1, 1, 1, 2]
    assert [row.instance is None for row in rows(database, StoredObject)] == [False, True]
    assert store(database, 1, **where) is Outcome.REPEATED


def test_a_known_study_of_another_patient_is_quarantined(database):
    store(database, 1)
    stored = archive.store(database, received(2, PatientID="P2"))
    assert stored.outcome is Outcome.QUARANTINED
    assert "another patient" in stored.reason
    assert "P2" not in stored.reason
    assert store(database, 3, series=2, PatientID="P2") is Outcome.QUARANTINED
    assert counts(database) == [1, 1, 1, 3]
    # Its own patient's images are none the worse for it.
    assert store(database, 2) is Outcome.STORED
    assert store(database, 2, content="b", PatientID="P2") is Outcome.QUARANTINED


def merge(database, loser, survivor, **stated):
    """Merge as an ADT^A40 does, `stated` of the survivor."""
    prior, left = Identifier(loser, "HOSP"), Identifier(survivor, "HOSP")
    change = PatientMerge("RIS", PatientChange(left, fields=stated), prior)
    database.write(lambda session: merge_patients(session, change, now=NOW))


def test_a_study_goes_on_under_the_identifier_that_a_merge_left(database):
    store(database, 1)
    assert store(database, 2, PatientID="NEW") is Outcome.QUARANTINED
    merge(database, "P1", "MID")
    merge(database, "MID", "NEW")
    assert store(database, 3, PatientID="NEW") is Outcome.STORED
    assert store(database, 4, series=2, PatientID="MID") is Outcome.STORED
    assert store(database, 5) is Outcome.STORED
    assert store(database, 6, PatientID="P9") is Outcome.QUARANTINED
    (study,) = rows(database, Study)
    assert study.patient_id == "P1"


def test_aliases_of_one_survivor_are_one_patient(database):
    merge(database, "P1", "NEW")
    merge(database, "P2", "NEW")
    store(database, 1)
    assert store(database, 2, PatientID="P2") is Outcome.STORED


def test_an_emergency_is_named_by_the_merge(database):
    unknown = {"PatientName": "Unknown^Male", "PatientBirthDate": "19000101"}
    store(database, 1, **unknown)
    merge(database, "P1", "NEW", patient_name="Doe^John", birth_date="19700203")
    named = {"PatientID": "NEW", "PatientName": "Doe^John", "PatientBirthDate": "19700203"}
    assert store(database, 2, **named) is Outcome.STORED
    stranger = {"PatientID": "NEW", "PatientName": "Roe^Jim", "PatientBirthDate": "19550505"}
    assert store(database, 3, **stranger) is Outcome.QUARANTINED


def test_another_issuers_number_is_not_the_merged_one(database):
    merge(database, "P1", "NEW")
    store(database, 1, IssuerOfPatientID="HOSP")
    assert store(database, 2, PatientID="NEW") is Outcome.STORED
    elsewhere = {"PatientID": "NEW", "IssuerOfPatientID": "ELSEWHERE"}
    assert store(database, 3, **elsewhere) is Outcome.QUARANTINED


def test_after_a_merge_an_image_asks_no_more_than_before(database, monkeypatch):
    merge(database, "P1", "NEW")
    store(database, 1)
    store(database, 2, PatientID="NEW")
    monkeypatch.setattr(
        sys.modules[archive.store.__module__], "_settle", None
    )  # where it would be looked up
    assert store(database, 3, PatientID="NEW") is Outcome.STORED


def test_a_missing_issuer_and_spaces_make_no_other_patient(database):
    store(database, 1, IssuerOfPatientID="HOSP")
    assert store(database, 2, PatientID=" P1 ") is Outcome.STORED
    assert store(database, 3, PatientID="") is Outcome.STORED
    assert store(database, 4, IssuerOfPatientID="OTHER") is Outcome.QUARANTINED


def test_a_nameless_study_belongs_to_the_first_patient_that_is_named(database):
    store(database, 1, PatientID="", PatientName="", PatientBirthDate="")
    assert store(database, 2, PatientID="P7", PatientName="Roe^Jim") is Outcome.STORED
    assert store(database, 3, PatientID="P8") is Outcome.QUARANTINED
    assert store(database, 4, PatientID="", PatientName="ROE^JIM^") is Outcome.STORED
    assert store(database, 5, PatientID="", PatientName="") is Outcome.STORED
    assert store(database, 6, PatientID="") is Outcome.QUARANTINED  # of another name
    (study,) = rows(database, Study)
    assert (study.patient_id, study.name_key) == ("P7", "roe^jim")


def test_who_asks_again_with_the_same_key_is_told_the_same(database):
    once = received(1)
    assert archive.store(database, once).outcome is Outcome.STORED
    assert archive.store(database, once).outcome is Outcome.STORED
    out = received(1, content="b", source="WS")
    told = archive.store(database, out)
    assert archive.store(database, out) == told
    assert counts(database) == [1, 1, 1, 2]


def test_what_no_column_takes_is_made_to_fit(database):
    odd = received(
        1,
        PatientName="Doe\0^Jane\x1b",
        StudyDescription="x" * 5000,
        PatientID="P\udc80",
        SeriesDescription=None,
        InstanceNumber=7,
        Rows="many",
        Columns=-1,
        NumberOfFrames=2**40,
        RequestAttributes=[{"AccessionNumber": f"A{n}\0"} for n in range(100)],
    )
    assert archive.store(database, odd).outcome is Outcome.STORED
    (study,) = rows(database, Study)
    assert (study.patient_name, study.patient_id) == ("Doe^Jane", "P?")
    assert len(study.description) == 256
    (series,) = rows(database, Series)
    assert series.request == [{"AccessionNumber": f"A{n}"} for n in range(8)]
    (instance,) = rows(database, Instance)
    assert (instance.instance_number, instance.rows) == ("7", None)
    assert (instance.columns, instance.frames) == (None, None)


@pytest.mark.parametrize("where", ["study", "series", "sop"])
@pytest.mark.parametrize(
    "uid",
    ["", "1." * 33, "1.2\\1.3", "1.2\n", "1.2\0", "..", ".", "../x", "/etc/passwd", "<script>"],
)
def test_a_uid_that_is_none_is_refused(sqlite_database, where, uid):
    with pytest.raises(Rejected, match="InstanceUID: is no UID"):
        archive.store(sqlite_database, received(1, **{f"{where}_instance_uid": uid}))
    assert counts(sqlite_database) == [0, 0, 0, 0]


# --- at the same time


def together(*works):
    """Run the works at once; their results in their order."""
    gate = threading.Barrier(len(works))

    def run(work):
        gate.wait(10)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_of_those_who_send_the_same_at_once_one_wins(database):
    for number in range(8):
        outcomes = together(*[lambda n=number: store(database, n, series=n)] * 4)
        assert sorted(outcomes) == [Outcome.REPEATED] * 3 + [Outcome.STORED]
    assert counts(database) == [1, 8, 8, 8]


def test_of_contradictions_that_come_at_once_one_is_served(database):
    for number in range(8):
        works = [
            lambda n=number, s=source: store(database, n, content=f"{n}{s}", source=s)
            for source in ("A", "B", "C")
        ]
        assert sorted(together(*works)) == [Outcome.QUARANTINED] * 2 + [Outcome.STORED]
    assert sorted(states(database)) == ["quarantined"] * 16 + ["served"] * 8


def test_versions_that_come_at_once_leave_one_served(database):
    for number in range(6):
        works = [lambda n=number, v=v: store(database, n, content=f"{n}/{v}") for v in range(4)]
        outcomes = together(*works)
        assert outcomes.count(Outcome.STORED) == 1
        assert outcomes.count(Outcome.REPLACED) == 3
    served = [row.instance for row in rows(database, StoredObject) if row.state == "served"]
    assert sorted(served) == [row.id for row in rows(database, Instance)]


def test_associations_that_share_a_study_make_it_once(database):
    def send(association):
        return [store(database, 100 * association + n, series=association) for n in range(25)]

    outcomes = together(*[lambda a=a: send(a) for a in range(4)])
    assert {each for part in outcomes for each in part} == {Outcome.STORED}
    assert counts(database) == [1, 4, 100, 100]


def test_quarantined_at_once_is_quarantined_once(database):
    store(database, 1)
    outcomes = together(*[lambda: store(database, 1, content="b", source="WS")] * 4)
    assert sorted(outcomes) == [Outcome.QUARANTINED] + [Outcome.REPEATED] * 3
    assert states(database) == ["served", "quarantined"]


# --- what a process remembers


class _Refusing:
    """A database that loses what was done in it, once."""

    def __init__(self, database):
        self.database = database
        self.refusals = 1

    def write(self, work):
        def and_fail(session):
            work(session)
            raise Outage("the disk is full")

        if self.refusals:
            self.refusals -= 1
            return self.database.write(and_fail)
        return self.database.write(work)


def test_what_was_rolled_back_is_not_remembered(database):
    refusing = _Refusing(database)
    with pytest.raises(Outage):
        archive.store(refusing, received(1))
    assert counts(database) == [0, 0, 0, 0]
    assert archive.store(refusing, received(1)).outcome is Outcome.STORED
    assert archive.store(refusing, received(2)).outcome is Outcome.STORED
    assert counts(database) == [1, 1, 2, 2]


def test_what_is_remembered_wrongly_is_looked_up(database):
    store(database, 1)
    store(database, 2, study=2, series=2)
    places = known.known_of(database)
    one, two = study_uid(1), study_uid(2)
    place = places.get(one, series_uid(1))
    # A backup was restored, say, and the rows have other numbers now.
    places.learn(one, series_uid(1), place._replace(series=place.series + 1))
    places.learn(two, series_uid(2), places.get(two, series_uid(2))._replace(series=999))
    assert store(database, 3) is Outcome.STORED
    assert store(database, 4, study=2, series=2) is Outcome.STORED
    assert [row.series for row in rows(database, Instance)] == [1, 2, 1, 2]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(known, "_MOST", 3)
    places = known.Known()
    for number in range(5):
        places.learn("1", str(number), known.Place(number, None))
        places.get("1", "2")
    assert [n for n in range(5) if places.get("1", str(n))] == [2, 3, 4]


def test_a_database_that_is_gone_is_an_outage(sqlite_database):
    store(sqlite_database, 1)
    sqlite_database.path.unlink()
    with pytest.raises(Outage):
        store(sqlite_database, 2)


def test_time_is_that_of_receipt(database):
    later = NOW + timedelta(days=1)
    archive.store(database, received(1))
    archive.store(database, received(2, received_at=later))
    assert [row.created_at for row in rows(database, Instance)] == [NOW, later]


def test_what_is_set_aside_is_found_by_its_index(sqlite_database):
    statements = []
    store(sqlite_database, 1)
    table = StoredObject.__table__
    wanted = select(table).where(
        table.c.sop_instance_uid.in_(["1.2", "1.3"]), archive.IS_QUARANTINED
    )
    with sqlite_database.read() as session:
        connection = session.connection()
        driver = connection.connection.driver_connection
        driver.set_trace_callback(statements.append)
        connection.execute(wanted)
        listing._QUARANTINED.all(connection, {"after": 0, "limit": 10})
        driver.set_trace_callback(None)
        plans = [driver.execute(f"EXPLAIN QUERY PLAN {each}").fetchall() for each in statements]
    index = "SEARCH stored_object USING INDEX ix_stored_object_set_aside"
    assert plans[0][0][3] == f"{index} (state=? AND sop_instance_uid=?)"
    assert plans[1][0][3] == f"{index} (state=?)"


def test_a_server_that_stops_and_comes_back_keeps_each_image_once(tmp_path):
    server = postgres.Server(durable=True)
    try:
        upgrade(server.url, tmp_path)
        with closing(Database(server.url, data_dir=tmp_path, wait_s=1)) as database:
            store(database, 1)
            second = received(2)
            server.stop()
            with pytest.raises(Outage):
                archive.store(database, second)
            server.start()
            assert archive.store(database, second).outcome is Outcome.STORED
            assert archive.store(database, second).outcome is Outcome.STORED
            assert counts(database) == [1, 1, 2, 2]
    finally:
        server.remove()


def test_what_a_full_disk_refused_can_be_stored_later(sqlite_database):
    store(sqlite_database, 1)
    pages = sqlite_database.write(lambda s: _pragma(s, "page_count"))
    sqlite_database.write(lambda s: _pragma(s, f"max_page_count = {pages + 1}"))
    kept = 1
    with pytest.raises(Outage, match="disk is full"):  # noqa: PT012 - nobody knows which
        while kept < 200:
            store(sqlite_database, kept + 1)
            kept += 1
    assert counts(sqlite_database) == [1, 1, kept, kept]
    sqlite_database.write(lambda s: _pragma(s, "max_page_count = 1000000"))
    assert store(sqlite_database, kept + 1) is Outcome.STORED


def _pragma(session, what):
    return session.connection().exec_driver_sql(f"PRAGMA {what}").scalar()
