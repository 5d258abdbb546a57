"""What an acknowledgement means for the delivery that it answers.

AA and CA: taken. AR or CR with condition 206 (application record locked) or 207
(application internal error) of table 0357: the receiver's own trouble, so again later.
Any other AE, AR, CE or CR: refused; the same bytes would be refused again.
"""

import re
from collections.abc import Iterator

from hl7.client import Ack
from hl7.er7 import Message, Segment
from mwl.outbox import Done, Outcome, Park, Retry

_PASSING = frozenset({"206", "207"})
_CODE = re.compile(r"[0-9A-Za-z.]{1,12}")
_PLACE = re.compile(r"[A-Z0-9]{3}(\^[0-9]{1,4}){0,5}")
_MOST = 5


def outcome(ack: Ack) -> Outcome:
    """Tell what became of a delivery; texts for people stay in the answer's bytes.

    They may quote the patient, and an error goes to the log.
    """
    if ack.accepted:
        return Done(ack.raw)
    conditions = list(_conditions(ack.message))
    code = ack.code if _CODE.fullmatch(ack.code) else "an unknown code"
    error = ", ".join([f"answered {code}", *dict.fromkeys(filter(None, _said(ack.message)))])
    if ack.code in {"AR", "CR"} and _PASSING.intersection(conditions):
        return Retry(error, answer=ack.raw)
    return Park(error, ack.raw)


def _said(message: Message) -> list[str]:
    """Say each fault by condition and place; neither holds a patient's data."""
    faults = []
    for err in message.all("ERR")[:_MOST]:
        place = str(err.whole(2) or "")
        where = f" at {place.replace('^', '-', 1)}" if _PLACE.fullmatch(place) else ""
        faults += [f"{code}{where}" for code in _of(err)[:1]]
    return faults or list(_conditions(message))[:1]


def _conditions(message: Message) -> Iterator[str]:
    for err in message.all("ERR"):
        yield from _of(err)
    msa = message.first("MSA")
    if msa is not None:
        yield from _codes(msa.get(6))  # CE, until v2.4


def _of(err: Segment) -> list[str]:
    # ERR-3 since v2.5; before it ERR-1, whose fourth component is the code.
    return [*_codes(err.get(3)), *_codes(err.get(1, 1, 4, 1))]


def _codes(value: object) -> list[str]:
    return [value] if isinstance(value, str) and _CODE.fullmatch(value) else []
