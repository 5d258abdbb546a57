"""Who is to be examined on the day: sixty orders over the department's stations."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from mwl.demo.people import PEOPLE
from mwl.demo.ris import Order, Patient

ORDERS = 60

# Modality, how many of the sixty, and what is asked for.
_ASKED: tuple[tuple[str, int, tuple[tuple[str, str], ...]], ...] = (
    (
        "CT",
        18,
        (("CTHEAD", "CT of the head"), ("CTCHEST", "CT of the chest"), ("CTABD", "CT abdomen")),
    ),
    ("MR", 13, (("MRHEAD", "MR of the head"), ("MRKNEE", "MR of the knee"))),
    ("DX", 13, (("DXSKULL", "Skull, lateral"), ("DXCHEST", "Chest, two views"))),
    ("US", 10, (("USABD", "Ultrasound of the abdomen"), ("USTHYR", "Thyroid"))),
    ("MG", 3, (("MGSCREEN", "Mammography"),)),
    ("XA", 1, (("XACORO", "Coronary angiography"),)),
    ("NM", 1, (("NMBONE", "Bone scintigraphy"),)),
    ("PT", 1, (("PTBODY", "PET of the whole body"),)),
)
_FIRST, _EVERY = timedelta(hours=7), timedelta(minutes=12)  # 07:00 to 18:48


@dataclass(slots=True)
class Programme:
    """The orders that are left to play with, by time; each is taken once."""

    orders: list[Order]

    def take(self, modality: str) -> Order:
        """Take the earliest order of a modality."""
        return self._take(next(each for each in self.orders if each.modality == modality))

    def take_late(self, modality: str) -> Order:
        """Take the latest order of a modality: one that is long to come."""
        late = reversed(self.orders)
        return self._take(next(each for each in late if each.modality == modality))

    def _take(self, order: Order) -> Order:
        self.orders.remove(order)
        return order


def programme(run: str, seed: int, midnight: datetime) -> Programme:
    """Draw up a day: what is done to whom is the seed's, when and under which numbers is not."""
    chance = Random(seed)  # noqa: S311 - a play, no secret
    asked = [
        (modality, *chance.choice(kinds)) for modality, count, kinds in _ASKED for _ in range(count)
    ]
    chance.shuffle(asked)
    people = list(range(len(PEOPLE)))
    chance.shuffle(people)
    orders = []
    for number, (modality, code, text) in enumerate(asked):
        person = people[number % len(people)]
        patient = Patient(f"{run}-P{person + 1:02}", PEOPLE[person])
        start = midnight + _FIRST + number * _EVERY
        orders.append(Order(patient, f"{run}-{number + 1:02}", modality, code, text, start))
    return Programme(orders)
