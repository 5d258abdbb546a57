"""Migrations: from nothing to the tables that the program declares, once, safely."""

import multiprocessing
import sqlite3
import stat
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import select, text
from sqlmodel import SQLModel

from mwl import archive
from mwl.db import Database, migrate, tables
from mwl.errors import ConfigError, Outage
from mwl.names import words_key
from mwl.patients import folded, name_key
from tests.archive_rows import received
from tests.worklist_rows import insert_items, item


def test_the_migrations_make_the_tables_that_are_declared(database):
    assert tables.Patient.__tablename__ in SQLModel.metadata.tables
    with database.read() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, SQLModel.metadata) == []


def test_the_expected_revision_is_the_newest_migration():
    assert ScriptDirectory(str(migrate._SCRIPTS)).get_heads() == [migrate.REVISION]


def test_a_migrated_database_matches_and_is_migrated_again_without_alembic(database_url, tmp_path):
    program = (
        "import sys, pathlib; from mwl.db import Database, migrate\n"
        "url, folder = sys.argv[1], pathlib.Path(sys.argv[2])\n"
        "migrate.upgrade(url, folder)\n"
        "assert migrate.revision_matches(Database(url, data_dir=folder))\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, database_url, tmp_path], check=True, timeout=30)


def test_an_empty_database_does_not_match(postgresql_database):
    postgresql_database.write(lambda s: s.connection().execute(text("DROP TABLE alembic_version")))
    assert not migrate.revision_matches(postgresql_database)


def test_waiting_for_a_migration_ends_with_it(tmp_path):
    database = Database("sqlite:///new.db", data_dir=tmp_path, wait_s=0.2)
    with pytest.raises(Outage, match="missing"):
        migrate.wait_for_revision(database, wait_s=0)
    migrate.upgrade("sqlite:///new.db", tmp_path)
    migrate.wait_for_revision(database, wait_s=0)
    database.close()


def test_waiting_in_vain_names_both_revisions(database):
    database.write(_pretend_newer)
    with pytest.raises(Outage, match=f"revision is 9999, this program needs {migrate.REVISION}"):
        migrate.wait_for_revision(database, wait_s=0)


def test_a_database_of_a_newer_program_is_left_alone(database, database_url, tmp_path):
    database.write(_pretend_newer)
    with pytest.raises(ConfigError, match="9999"):
        migrate.upgrade(database_url, tmp_path)


def test_processes_that_start_together_migrate_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    starters = [
        spawn.Process(target=migrate.upgrade, args=("sqlite:///new/mwl.db", tmp_path))
        for _ in range(3)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(60)
    assert [starter.exitcode for starter in starters] == [0, 0, 0]


def test_a_failed_migration_leaves_what_was_there(tmp_path, monkeypatch):
    def fails_half_way(connection):
        connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")
        raise RuntimeError

    monkeypatch.setattr(migrate, "_run_alembic", fails_half_way)
    with pytest.raises(RuntimeError):
        migrate.upgrade("sqlite:///mwl.db", tmp_path)
    with sqlite3.connect(tmp_path / "mwl.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()


def test_a_new_sqlite_file_is_for_our_eyes_only_and_keeps_a_write_ahead_log(tmp_path):
    migrate.upgrade("sqlite:///mwl.db", tmp_path)
    assert stat.S_IMODE((tmp_path / "mwl.db").stat().st_mode) == 0o600
    with sqlite3.connect(tmp_path / "mwl.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://localhost/mwl", "mysql"),
        ("sqlite://", "path of a file"),
        ("sqlite:///:memory:", "path of a file"),
    ],
)
def test_a_url_that_cannot_be_used_is_named(url, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        Database(url, data_dir=tmp_path)


def test_a_password_is_not_told(tmp_path):
    with pytest.raises(ConfigError) as told:
        Database("postgresql//u:secret@host/db", data_dir=tmp_path)
    assert "secret" not in str(told.value)


def test_a_folder_that_cannot_be_made_is_a_setting_to_mend(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        migrate.upgrade("sqlite:///file/mwl.db", tmp_path)


def _pretend_newer(session):
    session.connection().execute(text("UPDATE alembic_version SET version_num = '9999'"))


def test_names_that_are_there_get_their_words(database):
    names = ["", "Müller^Anna", "Иванов^Иван", *(f"Doe^N{number}" for number in range(1_200))]
    items = (item(n, patient={"patient_name": name}) for n, name in enumerate(names))
    database.write(lambda session: insert_items(session, items))
    script = ScriptDirectory(str(migrate._SCRIPTS)).get_revision("0004").module

    def fill_again(session):
        connection = session.connection()
        connection.execute(text("UPDATE patient SET name_words = ''"))
        with Operations.context(MigrationContext.configure(connection)):
            script._fill("patient", "patient_name", "name_words")

    database.write(fill_again)
    with database.read() as session:
        rows = session.execute(text("SELECT patient_name, name_words FROM patient")).all()
    assert dict(map(tuple, rows)) == {name: words_key(name) for name in names}


def test_names_that_are_there_are_matched_without_accents_from_then_on(database):
    names = ["", "Doe^Jane", "Müller^Änne", "Ørsted=山田", *(f"É^{n}" for n in range(1_100))]
    former = {"Doe^Jane": ["müller^jane"], "Müller^Änne": ["doe", "änne"]}
    items = [
        item(n, patient={"patient_name": name, "former_names": former.get(name, [])})
        for n, name in enumerate(names)
    ]
    for each in items:
        each["patient"]["name_key"] = folded(each["patient"]["patient_name"])
    database.write(lambda session: insert_items(session, items))
    script = ScriptDirectory(str(migrate._SCRIPTS)).get_revision("0006").module

    def fold_again(session):
        with Operations.context(MigrationContext.configure(session.connection())):
            script._refold_names()

    database.write(fold_again)
    patient = tables.Patient.__table__.c
    with database.read() as session:
        columns = (patient.patient_name, patient.name_key, patient.former_names)
        rows = session.connection().execute(select(*columns)).all()
    assert {name: key for name, key, _ in rows} == {name: name_key(name) for name in names}
    assert {name: known for name, _, known in rows if known} == {
        "Doe^Jane": ["muller^jane"],
        "Müller^Änne": ["doe", "anne"],
    }


def test_a_study_that_is_linked_is_its_orders_patients_from_then_on(database):
    database.write(lambda session: insert_items(session, [item(1), item(2)]))
    archive.store(database, received(1))
    archive.store(database, received(2, study=9, series=9))
    study = tables.Study.__table__
    database.write(lambda s: s.connection().execute(study.update().values(patient=None)))
    script = ScriptDirectory(str(migrate._SCRIPTS)).get_revision("0004").module
    database.write(lambda s: s.connection().execute(text(script._WHOSE)))
    with database.read() as session:
        whose = session.connection().execute(select(study.c.patient).order_by(study.c.id)).all()
    assert whose == [(1,), (None,)]
