"""The day from its first order to what is left of it for a person to look at."""

import socket

from mwl import devices
from mwl.config import DeviceTable
from mwl.demo import watching
from mwl.demo.day import commitments, examinations, orders
from mwl.demo.day.commitments import Listening
from mwl.demo.day.programme import STATIONS, programme
from mwl.demo.scanner import Failed
from mwl.demo.stage import Stage
from mwl.errors import Rejected

_CLOSED_S = 30.0
_TOLD_S = 15.0


def play(stage: Stage, seed: int) -> None:
    """Play a day and tell of it. Raises Failed, Outage."""
    today = stage.now()
    midnight = today.replace(hour=0, minute=0, second=0, microsecond=0)
    day = programme(stage.run, seed, midnight)
    stage.say(f"A department's day, {today:%Y-%m-%d}, run {stage.run}\n")
    with commitments.listening(STATIONS["MR"]) as ear:
        _register(stage, ear)
        orders.place(stage, day.orders)
        orders.expire(stage)
        orders.change(stage, day)
        orders.merge(stage, day)
        examinations.poll(stage)
        done = examinations.finish(stage, day)
        examinations.leave_open(stage, day)
        examinations.go_wrong(stage, day)
        late = examinations.emergency(stage)
        commitments.commit(stage, done, ear)
        examinations.stray(stage)
        examinations.collide(stage, done)
        examinations.knock(stage)
        orders.misspeak(stage, day)
        _see_closed(stage, [*done, late])
        with stage.step("mwl", f"{STATIONS['MR']} is told of storage commitment"):
            watching.until(ear.has_answered, _TOLD_S)
    _tell(stage)


def _register(stage: Stage, ear: Listening) -> None:
    """Register three scanners, or all where the server takes known ones only."""
    free = socket.create_server(("127.0.0.1", 0))
    nobody = free.getsockname()[1]
    free.close()
    given = {"CT": {}, "MR": {"port": ear.port}, "US": {"port": nobody}}
    dicom = stage.settings.dicom
    if not devices.admits(dicom.admit, dicom.host, known=False):
        given |= {"DX": {}}
    with stage.step("mwl", f"{len(given)} scanners registered") as came:
        for modality, where in given.items():
            _add(stage, modality, where)
        came.append(", ".join(STATIONS[modality] for modality in given))


def _add(stage: Stage, modality: str, where: dict[str, int]) -> None:
    place = {"host": "127.0.0.1", **where} if where else {}
    device = DeviceTable(
        ae_title=STATIONS[modality],
        modality=modality,
        station_name=f"{modality}-ROOM-1",
        location="DEMO",
        **place,
    )
    now = stage.now()
    try:
        stage.database.write(lambda s: devices.add(s, device, now=now, replace=True))
    except Rejected as error:
        raise Failed(f"{device.ae_title}: {error}") from None


def _see_closed(stage: Stage, expected: list[str]) -> None:
    with stage.step("mwl", f"{len(expected)} orders close by themselves") as came:
        open_ones = watching.closed(stage.database, expected, _CLOSED_S)
        came.append("CLOSED" if not open_ones else f"not yet: {', '.join(open_ones)}")
    if open_ones:
        raise Failed(
            f"{len(open_ones)} orders are not CLOSED after {_CLOSED_S:.0f} s: "
            "is the role `jobs` served? `mwl worklist list` shows them"
        )


def _tell(stage: Stage) -> None:
    day = f"{stage.now():%Y-%m-%d}"
    found = watching.standing(stage.database, f"{stage.run}-S1")
    links = {
        "today's worklist": f"/worklist?day={day}",
        "the emergency, from images to closed": f"/orders/{found.order}" if found else "",
        "messages that were refused": "/messages?state=rejected",
        "messages with a flag": "/messages?flagged=1",
        "reports on their way, and parked": "/deliveries",
        "begun and never ended": "/mpps?state=stuck",
        "studies of no order": "/studies?unmatched=1",
        "quarantined images": "/quarantine",
        "scanners, and who knocked": "/devices",
        "storage commitment": "/commitments",
    }
    stage.say("\nWhat to look at")
    for what, path in links.items():
        stage.say(f"  {what:<38}{stage.page(path)}")
