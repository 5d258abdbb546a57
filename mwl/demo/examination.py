"""One examination from the order to its end, as the two sides of the bridge play it.

The RIS sends an order. The CT finds it on its worklist, tells that it begins, makes and
sends its slices, tells that it is done, and has them committed. Then the order is CLOSED.
"""

from datetime import timedelta
from typing import Any

from mwl.demo import images, watching
from mwl.demo.association import Failed
from mwl.demo.entries import Entry
from mwl.demo.people import PEOPLE
from mwl.demo.ris import Order, Patient
from mwl.demo.scanner import Scanner
from mwl.demo.stage import Stage, taken
from mwl.demo.stations import STATIONS
from mwl.demo.watching import Standing

CT = STATIONS["CT"]
SLICES = 24
_CLOSED_S = 30.0
_SOON = timedelta(minutes=5)


def play(stage: Stage, number: int) -> Standing:
    """Play the examination with this number (from 1) of a run. Raises Failed, Outage."""
    order, scanner = _order(stage, number), stage.scanner(CT)
    _send(stage, order)
    entry = _find(stage, scanner, order)
    with stage.step(CT, "MPPS N-CREATE: IN PROGRESS") as came:
        uid = scanner.begin(entry, stage.now())
        came.append("0000")
    made = _scan(stage, scanner, entry)
    with stage.step(CT, f"MPPS N-SET: COMPLETED, {len(made)} images listed") as came:
        scanner.end(uid, made, stage.now())
        came.append("0000")
    with stage.step(CT, f"storage commitment: {len(made)} asked for") as came:
        report = scanner.commit(made)
        came.append(f"{report.kept} kept, {report.failed} not")
    return _closed(stage, order.number)


def _order(stage: Stage, number: int) -> Order:
    person = PEOPLE[(number - 1) % len(PEOPLE)]
    patient = Patient(f"{stage.run}-{number:03}", person)
    accession = f"{stage.run}-{number:03}"
    start = (stage.now() + _SOON).replace(second=0, microsecond=0)
    return Order(patient, accession, "CT", "CTHEAD", "CT of the head", start)


def _send(stage: Stage, order: Order) -> None:
    what = f"ORM^O01, new order: {order.text}, {order.start:%H:%M}"
    with stage.step("RIS", what) as came:
        came.append(taken(stage.order("ORM^O01", order, "NW")))


def _find(stage: Stage, scanner: Scanner, order: Order) -> Entry:
    with stage.step(CT, "worklist C-FIND: CT, by accession number") as came:
        found = scanner.worklist("CT", order.start.date(), order.number)
        came.append(f"{len(found)} entry" if len(found) == 1 else f"{len(found)} entries")
    if len(found) != 1:
        raise Failed(f"the worklist showed {len(found)} entries for the order, not one")
    stage.aside(found[0].shown)
    return found[0]


def _scan(stage: Stage, scanner: Scanner, entry: Entry) -> list[Any]:
    with stage.step(CT, f"scans: {SLICES} slices of a phantom") as came:
        made = images.make(entry, CT, SLICES, stage.now())
        size = sum(len(image.PixelData) for image in made)
        came.append(f"{size / 1e6:.1f} MB")
    with stage.step(CT, f"C-STORE: {len(made)} images") as came:
        scanner.store(made)
        came.append("0000 each")
    return made


def _closed(stage: Stage, accession: str) -> Standing:
    with stage.step("mwl", "all images that MPPS listed are here") as came:
        open_ones = watching.closed(stage.database, [accession], _CLOSED_S)
        found = watching.standing(stage.database, accession)
        came.append(f"order {found.state}" if found else "no order")
    if open_ones or found is None:
        raise Failed(
            f"the order is not CLOSED after {_CLOSED_S:.0f} s; "
            f"`mwl worklist list --accession {accession}` shows it: is the role `jobs` served?"
        )
    return found
