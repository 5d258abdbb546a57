"""The day from its first order to what is left of it for a person to look at."""

from mwl.demo import watching
from mwl.demo.association import Failed
from mwl.demo.day import commitments, desk, examinations, orders
from mwl.demo.day.programme import programme
from mwl.demo.stage import Stage
from mwl.demo.stations import STATIONS

_CLOSED_S = 30.0
_TOLD_S = 15.0


def play(stage: Stage, seed: int) -> None:
    """Play a day and tell of it. Raises Failed, Outage."""
    today = stage.now()
    midnight = today.replace(hour=0, minute=0, second=0, microsecond=0)
    day = programme(stage.run, seed, midnight)
    stage.say(f"A department's day, {today:%Y-%m-%d}, run {stage.run}\n")
    with commitments.listening(STATIONS["MR"]) as ear:
        desk.register(stage, ear.port)
        orders.place(stage, day.orders)
        orders.expire(stage)
        orders.change(stage, day)
        orders.merge(stage, day)
        desk.add_by_hand(stage)
        examinations.poll(stage)
        done = examinations.finish(stage, day)
        examinations.leave_open(stage, day)
        examinations.go_wrong(stage, day)
        desk.receive(stage, day)
        late = examinations.emergency(stage)
        commitments.commit(stage, done, ear)
        examinations.stray(stage)
        examinations.collide(stage, done)
        examinations.knock(stage)
        orders.misspeak(stage, day)
        _see_closed(stage, [*done, late])
        with stage.step("mwl", f"{STATIONS['MR']} is told of storage commitment") as came:
            told = watching.until(ear.has_answered, _TOLD_S)
            came.append("told" if told else "not yet: earlier reports wait for it")
    _tell(stage)


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
