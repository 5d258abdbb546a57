"""What each order control does to an order in each state: ORC-1 x ORC-5 x state.

One table says it, one test reads it: every cell is a message of its own for an order of its
own, brought into the cell's state beforehand. A cell says what the step is afterwards; behind
it `!` where a person must see that something was not done.
"""

from typing import NamedTuple

import pytest
from sqlalchemy import update
from sqlmodel import Session

from hl7.er7 import Message
from mwl import worklist
from mwl.db import Database
from mwl.db.tables import ImagingOrder, ScheduledStep
from tests.builders import orm
from tests.hl7_mapping import BERLIN, NOW, order
from tests.test_hl7_inbound import code, errors, everything, inbound, rows, send

HELD, SCHEDULED, ARRIVED, READY = "HELD", "SCHEDULED", "ARRIVED", "READY"
STARTED, DEPARTED = "STARTED", "DEPARTED"
COMPLETED, DISCONTINUED, CANCELED = "COMPLETED", "DISCONTINUED", "CANCELED"
UNKNOWN, GONE = "", "-"  # no such order; an order of which is kept only that it is over
WAITING = (HELD, SCHEDULED, ARRIVED, READY)
STATES = (*WAITING, STARTED, DEPARTED, COMPLETED, DISCONTINUED, CANCELED)
ORDER_IS = {
    **dict.fromkeys(WAITING, SCHEDULED),
    STARTED: "IN_PROGRESS",
    DEPARTED: "IN_PROGRESS",
    COMPLETED: COMPLETED,
    DISCONTINUED: DISCONTINUED,
    CANCELED: CANCELED,
}

SAME = "same"
KEEP = "keep"  # the same, and the message says nothing that is not done
OLD_PHONE, NEW_PHONE = "555-1", "555-2"
OLD_START, NEW_START = "20300102093000", "20300103110000"

# v2.5.1 4.5.1.1, table 0119, as of v2.8: what asks nothing of a worklist.
NOTED = (
    "AF CN DE DF DR FU LI MC NA OF OK OP OR PR PY RE RF RR SR SS UA UC UD UF UH UM UN UR UX XR XX"
)
NOWHERE = "ZZ NEW N1 X 1 CAN ORDER"

Cells = dict[str, str]


def cells(waiting: str, *later: str, held: str = "", unknown: str = UNKNOWN) -> Cells:
    """Give a row's cells: HELD to READY, STARTED, DEPARTED, the final ones, no such order."""
    found = dict.fromkeys(WAITING, waiting)
    found |= {HELD: held or waiting}
    found |= dict(zip(STATES[4:], later, strict=True))
    return found | {UNKNOWN: unknown}


CREATE = cells(SAME, *[f"{SAME}!"] * 5, unknown=SCHEDULED)
UPDATE = cells(SAME, *[f"{SAME}!"] * 5, unknown=f"{SCHEDULED}!")
NOTE = cells(KEEP, *[KEEP] * 5)
NOTED_UNKNOWN = "(noted)"  # nothing is kept but the message, which says so
START = cells(STARTED, SAME, SAME, *[f"{SAME}!"] * 3, unknown=NOTED_UNKNOWN)
COMPLETE = cells(
    COMPLETED, COMPLETED, COMPLETED, SAME, f"{SAME}!", f"{SAME}!", unknown=NOTED_UNKNOWN
)
DISCONTINUE = cells(
    DISCONTINUED, DISCONTINUED, DISCONTINUED, f"{SAME}!", SAME, f"{SAME}!", unknown=f"{GONE}!"
)
# The filler reports that it is so; the placer only asks for it.
IS_CANCELED = cells(CANCELED, CANCELED, CANCELED, f"{SAME}!", f"{SAME}!", SAME, unknown=f"{GONE}!")
CANCEL = cells(CANCELED, *[f"{SAME}!"] * 4, SAME, unknown=f"{GONE}!")
HOLD = cells(HELD, *[f"{SAME}!"] * 5, unknown=f"{HELD}!")
RELEASE = cells(SAME, *[f"{SAME}!"] * 5, held=SCHEDULED, unknown=f"{SCHEDULED}!")

# ORC-1, ORC-5 ("-": empty; several part by blanks), what becomes of each state.
TABLE: list[tuple[str, str, Cells]] = [
    ("NW", "- SC IP", CREATE),
    ("SN", "- SC IP", CREATE),
    ("RO", "- SC IP", CREATE),
    ("XO", "- SC", UPDATE),
    ("PA", "- SC", UPDATE),
    ("CH", "- SC", UPDATE),
    ("SC", "- SC A", cells(KEEP, *[KEEP] * 5, unknown=NOTED_UNKNOWN)),
    ("SC", "IP", START),
    ("XO", "IP", START),
    ("SC", "CM", COMPLETE),
    ("XO", "CM", COMPLETE),
    ("SC", "DC", DISCONTINUE),
    ("XO", "DC", DISCONTINUE),
    ("SC", "CA", IS_CANCELED),
    ("XO", "CA", IS_CANCELED),
    *[(control, "- CA", CANCEL) for control in ("CA", "OC", "CR", "RP", "RQ", "RU", "OD")],
    ("DC", "- CA", DISCONTINUE),
    *[(control, "- HD", HOLD) for control in ("HD", "OH", "HR")],
    *[(control, "- SC", RELEASE) for control in ("RL", "OE")],
    *[(control, "-", {**NOTE, UNKNOWN: NOTED_UNKNOWN}) for control in NOTED.split()],
    ("NA", "SC CM", {**NOTE, UNKNOWN: NOTED_UNKNOWN}),
]


class Cell(NamedTuple):
    """One message, for an order of its own."""

    number: int
    control: str
    status: str
    state: str
    expected: str

    def created(self) -> str:
        old = f"^^^{OLD_START}^^R"
        return self._text(ORC_7=old, PID_13=OLD_PHONE, MSH_7="20291231100000")

    def message(self) -> str:
        status = None if self.status == "-" else self.status
        return self._text(
            ORC_1=self.control,
            ORC_5=status,
            ORC_7=f"^^^{NEW_START}^^R",
            PID_13=NEW_PHONE,
            MSH_7="20291231110000",
        )

    def _text(self, **fields: str | None) -> str:
        n = self.number
        return orm(
            ORC_2=f"PO{n}^RIS",
            ORC_3=f"FO{n}^RIS",
            OBR_2=f"PO{n}^RIS",
            OBR_3=f"FO{n}^RIS",
            OBR_18=f"ACC{n}",
            OBR_19=f"RP{n}",
            OBR_20=f"S{n}",
            ZDS_1=f"1.2.3.{n}",
            PID_3=f"PID{n}^^^ADT1^MR",
            PID_5="Doe^Jane",
            **fields,
        )


def table() -> list[Cell]:
    found = [
        (control, status, state, expected)
        for control, statuses, row in TABLE
        for status in statuses.split()
        for state, expected in row.items()
    ]
    return [Cell(number, *each) for number, each in enumerate(found, 1)]


def prepare(database: Database, cells: list[Cell]) -> None:
    """Create the orders of the cells, each in its state."""
    known = [cell for cell in cells if cell.state != UNKNOWN]

    def create(session: Session) -> None:
        for cell in known:
            worklist.apply(session, order(cell.created()), now=NOW, zone=BERLIN)

    database.write(create)
    steps, orders = ScheduledStep.__table__, ImagingOrder.__table__

    def bring(session: Session) -> None:
        for state in STATES:
            of = [cell.number for cell in known if cell.state == state]
            step = steps.c.sps_id.in_(f"S{n}" for n in of)
            session.connection().execute(update(steps).where(step).values(state=state))
            ordered = orders.c.order_number.in_(f"FO{n}" for n in of)
            session.connection().execute(
                update(orders).where(ordered).values(status=ORDER_IS[state])
            )

    database.write(bring)


class Seen(NamedTuple):
    """What an order is afterwards; the patient's phone and the start tell what was taken."""

    ack: str
    state: str
    order: str
    moved: bool
    phone: str
    flagged: bool


def expected_of(cell: Cell) -> Seen:
    target, flagged = cell.expected.removesuffix("!"), cell.expected.endswith("!")
    if target == NOTED_UNKNOWN:
        return Seen("AA", "", "", False, NEW_PHONE, True)
    if target == GONE:  # of the order only that it is over
        ended = DISCONTINUED if cell.control == "DC" or cell.status == "DC" else CANCELED
        return Seen("AA", "", ended, False, NEW_PHONE, flagged)
    state = cell.state if target in (SAME, KEEP) else target
    stated = cell.control in ("NW", "SN", "RO", "PA", "CH") or (
        cell.control == "XO" and cell.status in "- SC"
    )
    moved = cell.state == UNKNOWN or (stated and cell.state in WAITING)
    return Seen("AA", state, ORDER_IS[state], moved, NEW_PHONE, flagged)


def test_every_cell_of_the_table(database):
    cells = table()
    assert len(cells) > 750
    prepare(database, cells)
    way_in = inbound(database)
    answers = {cell: send(way_in, cell.message()) for cell in cells}
    assert wrong(database, answers) == []


def wrong(database: Database, answers: dict[Cell, Message]) -> list[str]:
    """Tell which cells ended otherwise than the table says."""
    steps = {row["sps_id"]: row for row in rows(database, "scheduled_step")}
    orders = {row["order_number"]: row for row in rows(database, "imaging_order")}
    phones = {row["patient_id"]: row["phone"] for row in rows(database, "patient")}
    told = {row["control_id"]: row["flags"] for row in rows(database, "message")}
    found = []
    for cell, answer in answers.items():
        step = steps.get(f"S{cell.number}", {"state": "", "start_local": ""})
        order = orders.get(f"FO{cell.number}", {"status": ""})
        seen = Seen(
            code(answer),
            step["state"],
            order["status"],
            step["start_local"] == NEW_START,
            phones[f"PID{cell.number}"],
            told[answer.text("MSA-2")] not in ([], "[]"),
        )
        if seen != (right := expected_of(cell)):
            flags = told[answer.text("MSA-2")]
            found.append(f"{cell.control} {cell.status} {cell.state}: {seen} not {right} {flags}")
    return found


@pytest.mark.parametrize("control", [*NOWHERE.split(), "N W", "é", '""'])
def test_what_is_in_no_table_is_an_error_and_changes_nothing(sqlite_database, control):
    way_in = inbound(sqlite_database)
    send(way_in, orm())
    before = everything(sqlite_database)
    answer = send(way_in, orm(ORC_1=control, ORC_7="^^^20300109080000^^S"))
    missing = control == '""'
    assert (code(answer), errors(answer)) == ("AE", [("ORC-1", "101" if missing else "103")])
    assert everything(sqlite_database) == before


@pytest.mark.parametrize("control", ["RP", "RQ", "RU"])
def test_a_replaced_order_leaves_its_replacement_alone_on_the_list(sqlite_database, control):
    way_in = inbound(sqlite_database)
    send(way_in, orm())
    obr = "OBR||PO2^RIS|FO2^RIS|MRKNEE^Knee|||||||||||||||RP2|SPS2||||MR"
    new = ["ORC|RO|PO2^RIS|FO2^RIS||||^^^20300104100000", obr]
    assert code(send(way_in, orm(ORC_1=control, ORC_5=None, after=new))) == "AA"
    found = {row["sps_id"]: row["state"] for row in rows(sqlite_database, "scheduled_step")}
    assert found == {"SPS1": CANCELED, "SPS2": SCHEDULED}


@pytest.mark.parametrize("control", ["nw", " NW ", "Nw"])
def test_case_and_blanks_mean_nothing(sqlite_database, control):
    assert code(send(inbound(sqlite_database), orm(ORC_1=control))) == "AA"
    assert rows(sqlite_database, "scheduled_step")[0]["state"] == SCHEDULED


@pytest.mark.parametrize("control", ["CA", "OC", "CR", "RP", "RU", "OD", "DC"])
def test_an_older_order_after_its_cancellation_does_not_schedule(database, control):
    way_in = inbound(database)
    send(way_in, orm(ORC_1=control, ORC_5=None, MSH_7="20291231110000"))
    assert code(send(way_in, orm(MSH_7="20291231100000"))) == "AA"
    assert rows(database, "scheduled_step") == []
    (order,) = rows(database, "imaging_order")
    assert order["status"] == (DISCONTINUED if control == "DC" else CANCELED)
    assert [row["state"] for row in rows(database, "message")] == ["noted", "stale"]


@pytest.mark.parametrize(
    ("control", "status", "state"),
    [("NW", "A", SCHEDULED), ("XO", "ER", SCHEDULED), ("SC", "HD", SCHEDULED), ("SC", "ZZ", READY)],
)
def test_a_status_that_is_not_expected_with_its_control_is_flagged(
    sqlite_database, control, status, state
):
    cells = [Cell(1, control, status, state, SAME)]
    prepare(sqlite_database, cells)
    answer = send(inbound(sqlite_database), cells[0].message())
    assert code(answer) == "AA"
    assert rows(sqlite_database, "scheduled_step")[0]["state"] == state
    assert "ORC-5: not expected with" in str(rows(sqlite_database, "message")[-1]["flags"])
