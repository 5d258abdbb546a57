"""Indexing what was received: a million instances must cost a new one next to nothing.

Both contestants are alike but for the million, which is built with bulk inserts: series of
500 images, UIDs as random as scanners make them.
"""

import itertools
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

from sqlalchemy import make_url, text

from mwl import archive
from mwl.archive import Outcome
from mwl.db import Database
from mwl.db.migrate import upgrade
from tests import postgres
from tests.archive_rows import ROOT, received
from tests.bench.measure import Result, at_most, quantile

_MILLION = 1_000_000
_PER_SERIES = 500
_ROUNDS = 5
_INSTANCES = 600  # a round
_ASSOCIATIONS = 4
_numbers = itertools.count(1)

_STUDIES = f"""
INSERT INTO study (id, study_instance_uid, patient_id, patient_id_issuer, patient_name,
    name_key, birth_date, sex, accession_number, study_id, study_date, study_time, description,
    referring_physician, referring_physician_key, matched_by, created_at)
SELECT n, '{ROOT}.1.' || {{random}}, 'P' || n, '', 'Doe^' || n, 'doe^' || n, '19800229', 'F',
    'A' || n, '', '20300102', '093000', 'Head', '', '', '', {{now}}
FROM {{numbers}} AS numbers
"""
_SERIES = f"""
INSERT INTO series (id, study, series_instance_uid, modality, series_number, description,
    body_part, series_date, series_time, station_name, request, created_at)
SELECT n, n, '{ROOT}.2.' || {{random}}, 'CT', '1', '', '', '', '', '', '[]', {{now}}
FROM {{numbers}} AS numbers
"""
_INSTANCES_SQL = f"""
INSERT INTO instance (id, series, sop_instance_uid, sop_class_uid, instance_number, rows,
    columns, created_at)
SELECT n, (n + {_PER_SERIES - 1}) / {_PER_SERIES}, '{ROOT}.3.' || {{random}},
    '1.2.840.10008.5.1.4.1.1.2', n % {_PER_SERIES}, 512, 512, {{now}}
FROM {{numbers}} AS numbers
"""
_OBJECTS = """
INSERT INTO stored_object (instance, key, state, size, data_set_offset, sha256,
    transfer_syntax, source, reason, study_instance_uid, series_instance_uid,
    sop_instance_uid, sop_class_uid, patient_id, received_at)
SELECT instance.id, {key}, 'served', 525000, 400, {digest}, '1.2.840.10008.1.2.1', 'CT1', '',
    study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, patient_id, {now}
FROM instance JOIN series ON series.id = instance.series JOIN study ON study.id = series.study
"""
WORDS = {
    "sqlite": {
        "random": "abs(random()) || abs(random())",
        "numbers": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s"
        " WHERE n < {count}) SELECT n FROM s)",
        "key": "lower(hex(randomblob(18))) || '.dcm'",
        "digest": "randomblob(32)",
        "now": "1893571200000000",
    },
    "postgresql": {
        "random": "replace(gen_random_uuid()::text, '-', '')",
        "numbers": "generate_series(1, {count}) AS s(n)",
        "key": "gen_random_uuid()::text || '.dcm'",
        "digest": "sha256(sop_instance_uid::bytea)",
        "now": "now()",
    },
}


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        urls = ["sqlite:///empty.db", "sqlite:///full.db"]
        yield from _measure("SQLite", *_opened(stack, Path(name), urls))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        server = postgres.Server(durable=True)
        stack.callback(server.remove)
        urls = [created(server.url, database) for database in ("empty", "full")]
        yield from _measure("PostgreSQL", *_opened(stack, Path(name), urls))


def created(url: str, database: str) -> str:
    """Create a database beside the one at `url`; give its URL."""
    postgres.execute(url, f"CREATE DATABASE index_{database}")
    made = make_url(url).set(database=f"index_{database}")
    return made.render_as_string(hide_password=False)


def _opened(stack: ExitStack, folder: Path, urls: list[str]) -> list[Database]:
    """Open an empty database, and one with a million instances."""
    made = []
    for url in urls:
        upgrade(url, folder)
        made.append(stack.enter_context(closing(Database(url, data_dir=folder))))
    fill(made[1], _MILLION)
    return made


def fill(database: Database, count: int) -> None:
    """Insert `count` instances, each with its object, in series of 500."""
    words = WORDS[database.dialect]
    for statement, rows in (
        (_STUDIES, count // _PER_SERIES),
        (_SERIES, count // _PER_SERIES),
        (_INSTANCES_SQL, count),
        (_OBJECTS, count),
    ):
        numbers = words["numbers"].format(count=rows)
        sql = statement.format(**{**words, "numbers": numbers})
        if database.dialect == "postgresql":
            sql = sql.replace(f"{numbers} AS numbers", numbers)
        execute(database, sql)
    if database.dialect == "postgresql":
        for table in ("study", "series", "instance"):
            execute(database, f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")
        execute(database, "ANALYZE")


def execute(database: Database, sql: str) -> None:
    """Run a statement that may take long."""
    # A million rows take longer than any statement of ours may.
    if database.dialect == "postgresql":
        url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        postgres.execute(url, sql)
    else:
        database.write(lambda session: session.connection().execute(text(sql)))


def _measure(name: str, empty: Database, full: Database) -> Iterator[Result]:
    rates: dict[Database, list[float]] = {empty: [], full: []}
    for database in (empty, full):
        _flood(database)  # what comes first is planned, mapped and cached
    for _ in range(_ROUNDS):
        for database, seen in rates.items():
            seen.append(_INSTANCES / _flood(database))
    slow, fast = statistics.median(rates[full]), statistics.median(rates[empty])
    note = f"{slow:,.0f}/s with a million, {fast:,.0f}/s without; {_ASSOCIATIONS} associations"
    yield Result(f"indexing into a million, {name}, × empty", slow / fast, "×", 0.8, note=note)
    waits = _pace(full)
    note = f"p99 {quantile(waits, 0.99) * 1e3:.2f} ms; one association, a million there"
    median_ms = statistics.median(waits) * 1e3
    bound = 0.6 if full.path is not None else 2.0  # a round trip, and two processes
    yield at_most(f"index and commit, {name}, median", median_ms, "ms", bound, note)


def _flood(database: Database) -> float:
    """Store new instances, a series on each association; tell how long it took in seconds."""
    parts = [_series(_INSTANCES // _ASSOCIATIONS) for _ in range(_ASSOCIATIONS)]
    with ThreadPoolExecutor(_ASSOCIATIONS) as pool:
        began = time.perf_counter()
        list(pool.map(lambda part: _store_all(database, part), parts))
        return time.perf_counter() - began


def _pace(database: Database) -> list[float]:
    waits = []
    for each in _series(_INSTANCES):
        began = time.perf_counter()
        _store(database, each)
        waits.append(time.perf_counter() - began)
    return waits


def _store_all(database: Database, part: list[archive.Received]) -> None:
    for each in part:
        _store(database, each)


def _store(database: Database, each: archive.Received) -> None:
    assert archive.store(database, each).outcome is Outcome.STORED


def _series(count: int) -> list[archive.Received]:
    number = next(_numbers)
    return [
        received(
            n,
            study_instance_uid=_uid(number),
            series_instance_uid=_uid(number),
            sop_instance_uid=_uid(),
            key=f"{secrets.token_hex(18)}.dcm",
        )
        for n in range(count)
    ]


def _uid(number: int | None = None) -> str:
    return f"{ROOT}.9.{secrets.randbits(100) if number is None else number}"
