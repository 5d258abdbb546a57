"""One sender's messages, and what each of them must leave behind.

Orders and patients are a feed's own, but for a few patients whose orders come from all feeds.
What is expected follows from the messages alone: the rules of order control, message times,
merges. A feed is the same for the same seed.
"""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.builders import adt_a08, adt_a40, message, orm

SHARED = 5
_BUILDING = threading.Lock()  # control IDs of builders are counted for all threads
_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
_WAITING = ("SCHEDULED", "HELD")
_FIRST_START = "20300102093000"


@dataclass
class Order:
    """What is to be known of an order; without a state there are no steps of it."""

    key: str
    patient: str
    state: str = ""
    start: str = _FIRST_START
    is_gone: bool = False  # cancelled before it came


@dataclass
class Patient:
    """What is to be known of a patient; `into` is the key of whom it was merged into."""

    key: str
    name: str = "Doe^Jane"
    into: str = ""


@dataclass(frozen=True)
class Sent:
    """One message, and how it must be answered."""

    control_id: str
    raw: bytes
    code: str
    is_repeat: bool = False


@dataclass
class Feed:
    """An endless sender; iterate over it, and look at `orders` and `patients` afterwards."""

    number: int
    orders: dict[str, Order] = field(default_factory=dict)
    patients: dict[str, Patient] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.number)
        self._count = 0
        self._sent: list[Sent] = []

    def __iter__(self) -> Iterator[Sent]:
        kinds, weights = zip(*_KINDS, strict=True)
        while True:
            (kind,) = self._chance.choices(kinds, weights)
            with _BUILDING:
                made = kind(self)
            if made is not None:
                self._sent.append(made)
                yield made

    # ---- kinds of messages; None where there is nothing to say it of ------------------------

    def new(self) -> Sent:
        made = self._new_order()
        made.state = "SCHEDULED"
        return self._order(made)

    def cancelled_before_it_came(self) -> Sent:
        made = self._new_order()
        made.is_gone = True
        return self._order(made, ORC_1="CA", ORC_5=None)

    def late_order(self) -> Sent | None:
        """Send the order that was cancelled before it came."""
        gone = [each for each in self.orders.values() if each.is_gone]
        return self._order(self._chance.choice(gone), MSH_7=_time(-1)) if gone else None

    def move(self) -> Sent | None:
        if (of := self._any_order()) is None:
            return None
        start = f"203001{self._chance.randint(3, 28):02}{self._chance.randint(8, 17):02}0000"
        if of.state in _WAITING:
            of.start = start
        return self._order(of, ORC_1="XO", ORC_7=f"^^^{start}^^R")

    def stale(self) -> Sent | None:
        if (of := self._any_order()) is None:
            return None
        return self._order(of, ORC_1="XO", ORC_7="^^^20301231080000^^R", MSH_7=_time(-1))

    def control(self) -> Sent | None:
        if (of := self._any_order()) is None:
            return None
        control, status, reach, target = self._chance.choice(_CONTROLS)
        if of.state in reach:
            of.state = target
        return self._order(of, ORC_1=control, ORC_5=status)

    def rename(self) -> Sent:
        of = self._own_patient()
        if not of.into:
            of.name = f"Doe^Jane{self._count}"
        # An alias has no demographics any more: UNKNOWN_KEY.
        return self._said(adt_a08, "AR" if of.into else "AA", of, PID_5=f"Doe^Jane{self._count}")

    def merge(self) -> Sent | None:
        into, prior = self._own_patient(), self._own_patient()
        if into is prior or into.into or prior.into:
            return None
        prior.into = into.key
        return self._said(adt_a40, "AA", into, MRG_1=_id(prior.key), PID_5=into.name)

    def too_long(self) -> Sent:
        of = Order(f"{self.number}X{self._count}", self._own_patient().key)
        return self._order(of, "AE", OBR_18="A" * 17)

    def no_control(self) -> Sent:
        of = Order(f"{self.number}X{self._count}", self._own_patient().key)
        return self._order(of, "AE", ORC_1="QQ")

    def no_production(self) -> Sent:
        of = Order(f"{self.number}X{self._count}", self._own_patient().key)
        return self._order(of, "AR", MSH_11="T")

    def unsupported(self) -> Sent:
        text = message("DFT^P03^DFT_P03", {"EVN_2": _time(0)}, self._header())
        return self._made(text, "AR")

    def repeat(self) -> Sent | None:
        """Send again, byte for byte, what was answered before."""
        taken = [each for each in self._sent[-200:] if each.code == "AA"]
        if not taken:
            return None
        again = self._chance.choice(taken)
        return Sent(again.control_id, again.raw, "AA", is_repeat=True)

    # ---- of what, by whom --------------------------------------------------------------

    def _new_order(self) -> Order:
        if self._chance.random() < 0.2:
            patient = f"S{self._chance.randrange(SHARED)}"
        else:
            patient = self._own_patient().key
        key = f"{self.number}N{len(self.orders)}"
        self.orders[key] = Order(key, patient)
        return self.orders[key]

    def _any_order(self) -> Order | None:
        known = [each for each in list(self.orders.values())[-40:] if not each.is_gone]
        return self._chance.choice(known) if known else None

    def _own_patient(self) -> Patient:
        # Now and then somebody new, so that merges never use all of them up.
        key = f"{self.number}P{self._chance.randrange(5 + self._count // 20)}"
        return self.patients.setdefault(key, Patient(key))

    def _header(self) -> dict[str, str | None]:
        self._count += 1
        return {"MSH_7": _time(self._count), "MSH_10": f"F{self.number}M{self._count}"}

    def _order(self, of: Order, code: str = "AA", **fields: str | None) -> Sent:
        key, known = of.key, self.patients.get(of.patient)
        base = {
            **self._header(),
            "PID_3": _id(of.patient),
            "PID_5": known.name if known else "Doe^Jane",
            "ORC_2": f"PO{key}^RIS",
            "ORC_3": f"FO{key}^RIS",
            "OBR_2": f"PO{key}^RIS",
            "OBR_3": f"FO{key}^RIS",
            "OBR_18": f"A{key}",
            "OBR_19": f"R{key}",
            "OBR_20": f"S{key}",
            "ZDS_1": f"1.2.826.0.1.3680043.8.498.{self.number}.{key.partition('N')[2] or 0}",
        }
        return self._made(orm(**(base | fields)), code)

    def _said(self, by: Callable[..., str], code: str, of: Patient, **fields: str | None) -> Sent:
        return self._made(by(**{**self._header(), "PID_3": _id(of.key), **fields}), code)

    def _made(self, text: str, code: str) -> Sent:
        return Sent(f"F{self.number}M{self._count}", text.encode(), code)


_CONTROLS = [
    ("CA", "CA", _WAITING, "CANCELED"),
    ("DC", None, (*_WAITING, "STARTED"), "DISCONTINUED"),
    ("HD", None, ("SCHEDULED",), "HELD"),
    ("RL", None, ("HELD",), "SCHEDULED"),
    ("SC", "IP", _WAITING, "STARTED"),
    ("SC", "CM", (*_WAITING, "STARTED"), "COMPLETED"),
    ("NA", None, (), ""),
]
_KINDS: list[tuple[Callable[[Feed], Sent | None], int]] = [
    (Feed.new, 30),
    (Feed.control, 20),
    (Feed.move, 15),
    (Feed.rename, 8),
    (Feed.repeat, 8),
    (Feed.stale, 5),
    (Feed.merge, 4),
    (Feed.cancelled_before_it_came, 2),
    (Feed.late_order, 2),
    (Feed.too_long, 2),
    (Feed.no_control, 1),
    (Feed.no_production, 1),
    (Feed.unsupported, 2),
]


def _id(key: str) -> str:
    return f"PID{key}^^^ADT1^MR"


def _time(second: int) -> str:
    return (_BEGAN + timedelta(seconds=second)).strftime("%Y%m%d%H%M%S")
