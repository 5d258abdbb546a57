"""List pages of a department of years: 100,000 worklist items, 100,000 images, 1 million
messages and 1 million events of the audit trail.

Server time alone: the application is called as granian calls it, without a socket. Each URL
is asked for several times; the slowest median is the figure.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mwl.accounts import Role
from mwl.db import Database
from mwl.db.migrate import upgrade
from tests import postgres
from tests.bench.bench_index import WORDS, created, execute
from tests.bench.bench_index import fill as fill_archive
from tests.bench.measure import Result, at_most
from tests.web_app import WebApp
from tests.worklist_rows import insert_items, item

_ITEMS = 100_000
_MESSAGES = 1_000_000
_INSTANCES = 100_000
_EVENTS = 1_000_000
_A_DAY = 400  # worklist items
_AT_ONCE = 5_000
_RUNS = 7
_BOUND_MS = 100
_NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)

_PAGES = (
    "/",
    "/worklist",
    "/worklist?day=2029-10-02",
    "/worklist?day=2029-10-02&modality=MR&state=SCHEDULED",
    "/worklist?device=CT1",
    "/worklist?text=ACC4711",
    "/worklist?text=Doe",
    "/worklist?day=any&state=COMPLETED",
    "/worklist?day=any&flagged=1",
    "/messages",
    "/messages?control_id=C471100",
    "/messages?state=failed",
    "/messages?state=rejected&type=ORM^O01",
    "/messages?patient=P4711",
    "/messages?accession=ACC4711",
    "/messages?text=ACC4711",
    "/messages?text=nowhere",
    "/messages?flagged=1",
    "/messages?type=ADT^A08",
    "/deliveries",
    "/deliveries?state=parked",
    "/studies",
    "/studies?text=Doe",
    "/studies?accession=A47",
    "/studies?patient=P47",
    "/studies?modality=CT&day=2030-01-02",
    "/studies?unmatched=1",
    "/devices",
    "/audit",
    "/audit?who=user7",
    "/audit?who=rare&action=view",
    "/audit?action=remove",
    "/audit?subject=order:77",
    "/audit?address=10.0.0.9&day=2029-06-01",
    "/orders/4711",
)

_MESSAGES_SQL = """
INSERT INTO message (id, received_at, source, peer, control_id, type, state, ack_code, error,
    flags, encoding, content_hash, raw, ack, imaging_order, patient, repeats, {columns})
SELECT n, {at}, 'RIS^HOSPITAL', '127.0.0.1:5000', 'C' || n,
    CASE n % 4 WHEN 0 THEN 'ADT^A08' ELSE 'ORM^O01' END,
    CASE WHEN n % 5000 = 7 THEN 'rejected' ELSE 'applied' END,
    CASE WHEN n % 5000 = 7 THEN 'AE' ELSE 'AA' END,
    CASE WHEN n % 5000 = 7 THEN 'PID-3.1: is missing' ELSE '' END,
    CASE WHEN n % 10000 = 9 THEN '["OBR-4.2: shortened"]' ELSE '[]' END{cast},
    'utf-8', {digest}, {blob}, {blob},
    n % {items} + 1, n % {items} + 1, 0, {values}
FROM {numbers}
"""

_EVENTS_SQL = """
INSERT INTO audit_event (id, at, who, role, address, action, subject, detail)
SELECT n, {at}, CASE WHEN n % 50000 = 7 THEN 'rare' ELSE 'user' || (n % 20) END, 'viewer',
    '10.0.0.' || (n % 200),
    CASE WHEN n % 100000 = 3 THEN 'remove' WHEN n % 20 = 0 THEN 'change' ELSE 'view' END,
    'order:' || (n % {items} + 1), '{{"text": "x"}}'{cast}
FROM {numbers}
"""


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        yield from _measure("SQLite", "sqlite:///pages.db", Path(name))
    with tempfile.TemporaryDirectory() as name:
        server = postgres.Server(durable=True)
        try:
            yield from _measure("PostgreSQL", created(server.url, "pages"), Path(name))
        finally:
            server.remove()


def _measure(name: str, url: str, folder: Path) -> Iterator[Result]:
    upgrade(url, folder)
    with closing(Database(url, data_dir=folder)) as database:
        fill_archive(database, _INSTANCES)
        fill_worklist(database)
        fill_messages(database)
        fill_audit(database)
        if database.dialect == "postgresql":
            execute(database, "ANALYZE")
        app = WebApp(database, folder)
        app.now = _NOW
        person = app.signed_in(Role.ADMIN)
        slowest, where = 0.0, ""
        for path in _PAGES:
            taken = []
            for _ in range(_RUNS):
                began = time.perf_counter()
                answer = person.get(path)
                taken.append((time.perf_counter() - began) * 1e3)
                assert answer.status_code == 200, (path, answer.status_code)
            median = statistics.median(taken)
            if median > _BOUND_MS:
                print(f"      {path}: {median:,.0f} ms ({name})")
            if median > slowest:
                slowest, where = median, path
    yield at_most(f"list pages, {name}, the slowest", slowest, "ms", _BOUND_MS, note=where)


def fill_worklist(database: Database) -> None:
    """Spread items over the days up to today, most of them completed."""
    for start in range(0, _ITEMS, _AT_ONCE):
        items = [_item(number) for number in range(start, start + _AT_ONCE)]
        database.write(lambda session, items=items: insert_items(session, items))  # type: ignore[misc]


def _item(number: int) -> dict[str, dict[str, object]]:
    begins = _NOW - timedelta(days=(_ITEMS - number) // _A_DAY, minutes=number % 600)
    is_past = number < _ITEMS - _A_DAY
    state = "COMPLETED" if is_past else "SCHEDULED"
    modality = ("CT", "MR", "DX", "US")[number % 4]
    return item(
        number,
        f"{modality}1",
        order={
            "status": "CLOSED" if is_past else "SCHEDULED",
            "closed_at": begins if is_past else None,
            "closed_by": "archived" if is_past else "",
        },
        step={
            "modality": modality,
            "state": state,
            "start_at": begins,
            "start_local": f"{begins:%Y%m%d%H%M%S}",
        },
    )


def fill_messages(database: Database) -> None:
    """Insert messages of three months, with some that went wrong."""
    from mwl.db.tables import Message

    words = WORDS[database.dialect]
    is_sqlite = database.dialect == "sqlite"
    named = set(_MESSAGES_SQL.split("(", 1)[1].split(")", 1)[0].replace("\n", " ").split(", "))
    # Columns that came later: whatever they are, empty.
    table = Message.__table__  # type: ignore[attr-defined]
    others = [
        c for c in table.c if c.name not in {each.strip() for each in named} and not c.nullable
    ]
    empties = {"VARCHAR": "''", "JSON": "'{}'", "BLOB": "''", "INTEGER": "0", "BOOLEAN": "false"}
    values = [empties.get(str(c.type).split("(")[0], "''") for c in others] or ["NULL"]
    columns = [c.name for c in others] or ["repeated_at"]
    numbers = words["numbers"].format(count=_MESSAGES)
    sql = _MESSAGES_SQL.format(
        columns=", ".join(columns),
        values=", ".join(values),
        at="1893585600000000 - (1000000 - n) * 8000000"
        if is_sqlite
        else "timestamptz '2030-01-02 12:00:00Z' - (1000000 - n) * interval '8 seconds'",
        digest="randomblob(32)" if is_sqlite else "sha256(('m' || n)::bytea)",
        blob="x'4d5348'" if is_sqlite else "'\\x4d5348'::bytea",
        cast="" if is_sqlite else "::jsonb",
        items=_ITEMS,
        numbers=f"{numbers} AS numbers" if is_sqlite else numbers,
    )
    execute(database, sql)
    if not is_sqlite:
        execute(database, "SELECT setval('message_id_seq', (SELECT max(id) FROM message))")


def fill_audit(database: Database) -> None:
    """Insert events of a year; some people and acts are rare."""
    is_sqlite = database.dialect == "sqlite"
    numbers = WORDS[database.dialect]["numbers"].format(count=_EVENTS)
    sql = _EVENTS_SQL.format(
        at="1893585600000000 - (1000000 - n) * 30000000"
        if is_sqlite
        else "timestamptz '2030-01-02 12:00:00Z' - (1000000 - n) * interval '30 seconds'",
        cast="" if is_sqlite else "::jsonb",
        items=_ITEMS,
        numbers=f"{numbers} AS numbers" if is_sqlite else numbers,
    )
    execute(database, sql)
    if not is_sqlite:
        execute(database, "SELECT setval('audit_event_id_seq', (SELECT max(id) FROM audit_event))")
