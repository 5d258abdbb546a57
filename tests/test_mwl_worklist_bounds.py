"""No key makes a statement long: each reads so many rows, however long the worklist is.

SQLite tells how many instructions a statement took, PostgreSQL how many rows it read; its plan
is the one that is made for any value, as it is for statements that are kept.
"""

import json
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text

from mwl import matching
from mwl.db import Prepared
from mwl.matching import UNIVERSAL
from mwl.worklist import find as finding
from mwl.worklist.find import Check, Query, pages
from mwl.worklist.scope import Caller, Scope
from tests.worklist_rows import NOW, insert_items, item

ROWS = 20  # of a page
OPEN, OVER, EXPIRED = 200, 200, 120  # steps
# Of a page's steps each is looked up in four tables; of each state there is a walk.
MOST_INSTRUCTIONS = ROWS * 200
MOST_ROWS = ROWS * 10


def crowd():
    """Make a worklist of which all steps share much, a few a day; those to come stand last."""
    for number in range(OVER + EXPIRED + OPEN):
        state, expired = "COMPLETED", False
        if number >= OVER:
            state, expired = "SCHEDULED", number < OVER + EXPIRED
        day = NOW + timedelta(days=(number - OVER - EXPIRED) // 10)
        yield item(
            number,
            "CT1",
            patient={"patient_name": f"Doe^Number{number}", "patient_id": "P"},
            order={"placer_number": "O", "comments": "none"},
            procedure={"accession_number": f"A{number % 2}"},
            step={
                "state": state,
                "expired": expired,
                "modality": ("CT", "MR")[number % 2],
                "start_local": f"{day:%Y%m%d}000000",
                "attributes": {"Occupation": "Nurse"},
            },
        )


def asked(name, value, *, wildcards=True):
    return {name: matching.text(value, name, wildcards=wildcards)}


def start(days):
    return {"start": matching.start(matching.dates(days, ""), UNIVERSAL).instant}


TODAY = f"{NOW:%Y%m%d}"
CT = asked("modality", "CT", wildcards=False)
QUERIES = {
    "nothing": {},
    "sex": asked("sex", "O"),
    "a name's end": {"patient_name": matching.name("*ber7", "")},
    "a name that all have": {"patient_name": matching.name("doe*", "")},
    "a name": {"patient_name": matching.name(f"doe^number{OVER + EXPIRED}", "")},
    "a fuzzy name": {"patient_name": matching.fuzzy_name("Dow", "")},
    "a description": asked("step_description", "Foot"),
    "a location": asked("location", "EAST"),
    "a station": asked("station_ae_titles", "CT9", wildcards=False),
    "its modality": CT,
    "a modality for years": {**CT, **start("20000101-20991231")},
    "a modality today": {**CT, **start(TODAY)},
    "today": start(TODAY),
    "until today": start(f"-{TODAY}"),
    "at noon": {"time_of_day": matching.times("12", "")},
    "what is over": asked("status", "COMPLETED"),
    "any state": asked("status", "*E*"),
    "a number of many": asked("accession_number", "A1"),
    "an order of all": asked("placer_number", "O"),
    "a patient of all": asked("patient_id", "P"),
    "an order and sex": {**asked("placer_number", "O"), **asked("sex", "O")},
    "a step's number": asked("sps_id", "SPS7"),
}


@pytest.fixture
def listed(database, monkeypatch):
    monkeypatch.setattr(finding, "PAGE_ROWS", ROWS)
    rows = list(crowd())
    for number, row in enumerate(rows):
        # One number for all, yet of many issuers: it is the number that is looked up.
        row["patient"]["issuer_key"] = f"I{number}"
    database.write(lambda session: insert_items(session, rows))
    if database.dialect == "postgresql":
        database.write(lambda session: session.connection().execute(text("ANALYZE")))
    return database


@pytest.fixture
def efforts(listed, monkeypatch):
    """Collect what each statement takes."""
    taken = []
    measure = {"sqlite": _instructions, "postgresql": _rows_read}[listed.dialect]
    all_rows = Prepared.all

    def measured(self, connection, params):
        found = all_rows(self, connection, params)
        plan = self._plans[connection.dialect.name]
        taken.append(measure(connection, plan.text, plan.bind(params)))
        return found

    monkeypatch.setattr(Prepared, "all", measured)
    return taken


def _instructions(connection, statement, values):
    driver, counted = connection.connection.driver_connection, [0]

    def count():
        counted[0] += 10

    driver.set_progress_handler(count, 10)
    driver.execute(statement, values).fetchall()
    driver.set_progress_handler(None, 0)
    return counted[0] / MOST_INSTRUCTIONS


def _rows_read(connection, statement, values):
    driver = connection.connection.driver_connection
    literals = ", ".join(psycopg.sql.Literal(value).as_string(driver) for value in values)
    given = f"({literals})" if values else ""
    with psycopg.Cursor(driver) as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        # Each row is dear, as where there are so many that they are not in memory.
        cursor.execute("SET LOCAL cpu_tuple_cost = 100")
        cursor.execute(f"PREPARE measured AS {statement}")
        explain = cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE measured{given}")
        (plan,) = explain.fetchone()
        cursor.execute("DEALLOCATE measured")
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return _read(plan[0]["Plan"]) / MOST_ROWS


def _read(node):
    """Count the rows that a plan's nodes take from tables and indexes."""
    count = 0
    if "Relation Name" in node:
        removed = sum(value for name, value in node.items() if name.startswith("Rows Removed"))
        count = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return count + sum(map(_read, node.get("Plans", [])))


# What is set of a device, and what SQL can't tell.
SCOPE = Scope(stations=("CT9",), locations=("EAST",), earliest=f"{TODAY}000000")
FURTHER = {
    "a scope": Query(("sps_id",), {}, Caller("CT9", "CT", (), SCOPE)),
    "an occupation": Query(("sps_id",), checks=(Check("attributes", lambda _told: False),)),
}


def test_each_statement_reads_so_many_rows_and_no_more(listed, efforts):
    most, counts = {}, {}
    queries = {name: Query(("sps_id",), keys, Caller("CT1")) for name, keys in QUERIES.items()}
    for name, query in (queries | FURTHER).items():
        efforts.clear()
        counts[name] = sum(map(len, pages(listed, query, now=NOW)))
        most[name] = max(efforts)
    assert {name: effort for name, effort in most.items() if effort > 1} == {}
    assert [counts[name] for name in ("nothing", "today", "a name")] == [OPEN, 10, 1]
    assert [counts[name] for name in ("an order of all", *FURTHER)] == [OPEN, 0, 0]
