"""What people do on the day: register scanners, note who has come, add an entry by hand."""

import socket

from sqlmodel import Session

from mwl import audit, devices
from mwl.audit import Action, Event
from mwl.config import DeviceTable
from mwl.demo.association import Failed
from mwl.demo.day.programme import Programme
from mwl.demo.people import PEOPLE
from mwl.demo.ris import NAMESPACE
from mwl.demo.stage import Stage
from mwl.demo.stations import STATIONS
from mwl.errors import Rejected
from mwl.worklist import manual


def register(stage: Stage, reports_to: int) -> None:
    """Register three scanners, or all where the server takes known ones only.

    The CT is told of commitment where it asks; the MR at the port `reports_to`; the ultrasound
    where nobody listens.
    """
    given: dict[str, int | None] = {"CT": None, "MR": reports_to, "US": _unused_port()}
    dicom = stage.settings.dicom
    if not devices.admits(dicom.admit, dicom.host, known=False):
        given["DX"] = None
    with stage.step("desk", f"{len(given)} scanners registered") as came:
        for modality, port in given.items():
            _register(stage, modality, port)
        came.append(", ".join(STATIONS[modality] for modality in given))


def _unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _register(stage: Stage, modality: str, port: int | None) -> None:
    device = DeviceTable(
        ae_title=STATIONS[modality],
        host="127.0.0.1" if port else None,
        port=port,
        modality=modality,
        station_name=f"{modality}-ROOM-1",
        location="DEMO",
    )
    now = stage.now()
    try:
        stage.database.write(
            lambda session: devices.register(session, stage.actor, device, now=now, replace=True)
        )
    except Rejected as error:
        raise Failed(f"{device.ae_title}: {error}") from None


def receive(stage: Stage, day: Programme) -> None:
    """Note that three patients have come: scanners that show it see ARRIVED."""
    come = [day.take(modality) for modality in ("MR", "DX", "US")]
    with stage.step("desk", f"{len(come)} patients have come: ARRIVED"):
        for order in come:
            _arrive(stage, order.number)


def _arrive(stage: Stage, accession: str) -> None:
    which, now = manual.Which(accession), stage.now()

    def work(session: Session) -> None:
        manual.arrive(session, which, now=now)
        event = Event(Action.ARRIVE, f"order:{manual.order_of(session, which)}")
        audit.record(session, stage.actor, event, now=now)

    stage.database.write(work)


def add_by_hand(stage: Stage) -> None:
    """Put a patient on the worklist as people do while the RIS is down."""
    person, now, zone = PEOPLE[0], stage.now(), stage.settings.site.zone_info
    entry = manual.Entry(
        patient_id=f"{stage.run}-DESK",
        issuer=NAMESPACE,
        patient_name=person.dicom_name,
        birth_date=person.birth_date,
        sex=person.sex,
        accession_number=f"{stage.run}-H1",
        modality="US",
        description="Ultrasound, while the RIS is down",
    )

    def work(session: Session) -> None:
        done = manual.add(session, entry, now=now, zone=zone)
        order = manual.order_of(session, manual.Which(sps_id=done.sps_ids[0]))
        detail = {"accession_number": entry.accession_number}
        audit.record(session, stage.actor, Event(Action.CREATE, f"order:{order}", detail), now=now)

    with stage.step("desk", "an entry by hand: the RIS is down"):
        stage.database.write(work)
