"""What the scanners do on the day: most of it as it should be, some of it as it happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from pydicom.dataset import Dataset
from sqlalchemy import bindparam, update

from mwl.db import Prepared
from mwl.db.tables import PerformedStep
from mwl.demo import images
from mwl.demo.association import Failed
from mwl.demo.datasets import EQUIPMENT_FAILURE, WRONG_ENTRY
from mwl.demo.day.programme import Programme
from mwl.demo.entries import Entry, new_uid
from mwl.demo.people import PEOPLE
from mwl.demo.ris import NAMESPACE, Order, Patient
from mwl.demo.scanner import Scanner
from mwl.demo.stage import Stage, taken
from mwl.demo.stations import STATIONS

IMAGES = {"CT": 12, "MR": 8, "DX": 1, "US": 3}
_FINISHED = ("CT", "DX", "MR", "US", "CT", "DX", "MR", "DX", "US", "CT")

_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_AGE = Prepared(
    update(_PERFORMED)
    .where(_PERFORMED.c.sop_instance_uid == bindparam("uid"))
    .values(created_at=bindparam("at", type_=_PERFORMED.c.created_at.type))
)


def poll(stage: Stage) -> None:
    """Let each scanner ask for its day."""
    for modality, title in STATIONS.items():
        with stage.step(title, f"worklist C-FIND: {modality}, today") as came:
            found = stage.scanner(title).worklist(modality, stage.now().date())
            came.append(f"{len(found)} entries")


def finish(stage: Stage, day: Programme) -> dict[str, list[Dataset]]:
    """Examine from beginning to end; give the images by accession number."""
    done: dict[str, list[Dataset]] = {}
    for modality in _FINISHED:
        order = day.take(modality)
        with _examined(stage, order, "from begin to end") as (scanner, entry, uid):
            made = _made(stage, entry, IMAGES[modality])
            scanner.store(made)
            scanner.end(uid, made, stage.now())
        done[order.number] = made
    return done


def leave_open(stage: Stage, day: Programme) -> None:
    """Begin and not end: two are at work, and one has been for longer than anybody is."""
    for modality in ("US", "MR"):
        with _examined(stage, day.take(modality), "begun, and at work"):
            pass
    hours = stage.settings.mpps.stuck_h + 4
    what = f"begun {hours:.0f} h ago, never ended: stuck"
    with _examined(stage, day.take("CT"), what) as (_, _, uid):
        # No socket can say that it was then: this one moment is set in the database.
        at = stage.now() - timedelta(hours=hours)
        stage.database.write(
            lambda session: _AGE.send(session.connection(), {"uid": uid, "at": at})
        )


def go_wrong(stage: Stage, day: Programme) -> None:
    """Lose images on the way, give up, and take the wrong patient."""
    with _examined(stage, day.take("CT"), "8 images listed, 6 sent: not closed") as (
        ct,
        entry,
        uid,
    ):
        made = _made(stage, entry, 8)
        ct.store(made[:6])
        ct.end(uid, made, stage.now())
        ct.ask_commitment(made)  # waits for the two, commit.wait_min long
    with _examined(stage, day.take("MR"), "given up: equipment failure") as (mr, _, uid):
        mr.end(uid, [], stage.now(), EQUIPMENT_FAILURE)
    with _examined(stage, day.take("CT"), "wrong entry taken: images set aside") as (
        ct,
        entry,
        uid,
    ):
        made = _made(stage, entry, 3)
        ct.store(made)
        ct.end(uid, made, stage.now(), WRONG_ENTRY)


def emergency(stage: Stage) -> str:
    """Examine before anybody has ordered; give the accession number of the order to come."""
    order = Order(
        Patient(f"{stage.run}-STAT", PEOPLE[10]),
        f"{stage.run}-S1",
        "CT",
        "CTHEAD",
        "CT of the head, trauma",
        stage.now().replace(second=0, microsecond=0),
        priority="S",
    )
    scanner = stage.scanner(STATIONS["CT"])
    entry = _typed(order)
    with stage.step(scanner.ae_title, "an emergency: images before the order") as came:
        uid = scanner.begin(entry, stage.now())
        made = _made(stage, entry, IMAGES["CT"])
        scanner.store(made)
        scanner.end(uid, made, stage.now())
        came.append(f"{len(made)} images")
    with stage.step("RIS", "the order for it, late") as came:
        came.append(taken(stage.order("ORM^O01", order, "NW")))
    return order.number


def stray(stage: Stage) -> None:
    """Work that no order asks for: an MPPS, and images that came on a disc."""
    walk_in = Patient(f"{stage.run}-WALK", PEOPLE[15])
    us = stage.scanner(STATIONS["US"])
    with stage.step(us.ae_title, "MPPS of no order: a patient who walked in"):
        entry = _typed(Order(walk_in, "", "US", "", "Thyroid", stage.now()))
        us.end(us.begin(entry, stage.now()), [], stage.now(), EQUIPMENT_FAILURE)
    disc = stage.scanner("DEMO-DISC")
    with stage.step(disc.ae_title, "images of no order: brought on a disc"):
        guest = Patient("4711", PEOPLE[17])
        entry = _typed(Order(guest, "ELSEWHERE-1", "DX", "", "Skull, from elsewhere", stage.now()))
        disc.store(_made(stage, entry, 1))


def collide(stage: Stage, done: dict[str, list[Dataset]]) -> None:
    """Send another picture under a UID that is here: it is quarantined."""
    workstation = stage.scanner("DEMO-WS1")
    with stage.step(workstation.ae_title, "a known SOP Instance UID, another image") as came:
        image = next(iter(done.values()))[0]
        image.PixelData = bytes(len(image.PixelData))
        workstation.store([image])
        came.append("quarantined")


def knock(stage: Stage) -> None:
    """Strangers: one who is let in as long as we are on loopback, one who calls a wrong name."""
    with stage.step("DEMO-XA9", "C-ECHO of a scanner that nobody registered") as came:
        came.append(_echo(stage.scanner("DEMO-XA9")))
    misled = Scanner("DEMO-CT9", *_address(stage), called="OTHERPACS")
    with stage.step("DEMO-CT9", "C-ECHO to an AE title that is not ours") as came:
        came.append(_echo(misled))


def _echo(scanner: Scanner) -> str:
    try:
        scanner.echo()
    except Failed:
        return "refused"
    return "0000"


def _address(stage: Stage) -> tuple[str, int]:
    scanner = stage.scanner("")
    return scanner.host, scanner.port


@contextmanager
def _examined(stage: Stage, order: Order, what: str) -> Iterator[tuple[Scanner, Entry, str]]:
    """Find an order on the worklist and begin it, as one step that is told."""
    scanner = stage.scanner(STATIONS[order.modality])
    with stage.step(scanner.ae_title, what) as came:
        found = scanner.worklist(order.modality, order.start.date(), order.number)
        if len(found) != 1:
            raise Failed(f"the worklist showed {len(found)} entries for {order.number}, not one")
        yield scanner, found[0], scanner.begin(found[0], stage.now())
        came.append(f"{order.number}  {order.text}")


def _typed(order: Order) -> Entry:
    """Give what is typed at a console where there is no worklist entry."""
    person = order.patient.person
    return Entry(
        patient_id=order.patient.patient_id,
        patient_name=person.dicom_name,
        modality=order.modality,
        study_uid=new_uid(),
        birth_date=person.birth_date,
        sex=person.sex,
        issuer=NAMESPACE,
        accession=order.number,
        description=order.text,
    )


def _made(stage: Stage, entry: Entry, count: int) -> list[Dataset]:
    return images.make(entry, STATIONS[entry.modality], count, stage.now())
