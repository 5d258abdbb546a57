"""What the RIS says on the day: orders, their changes, and messages that are wrong."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from hl7.client import Ack
from mwl.demo.association import Failed
from mwl.demo.day.programme import Programme
from mwl.demo.people import PEOPLE
from mwl.demo.ris import Order, Patient
from mwl.demo.stage import Stage, taken

_KINDS = ("ORM^O01", "ORM^O01", "ORM^O01", "OMG^O19", "ORM^O01", "OMI^O23")


def place(stage: Stage, orders: Sequence[Order]) -> None:
    """Order everything, by the messages that RIS use."""
    modalities = Counter(order.modality for order in orders)
    with stage.step("RIS", f"{len(orders)} orders: ORM^O01, OMG^O19, OMI^O23") as came:
        for number, order in enumerate(orders):
            taken(stage.order(_KINDS[number % len(_KINDS)], order, "NW"))
        came.append("AA each")
    stage.aside(", ".join(f"{count} {modality}" for modality, count in modalities.most_common()))
    sets = {order.patient.person.charset for order in orders}
    stage.aside(f"names in {len(sets)} character sets of MSH-18")


def change(stage: Stage, day: Programme) -> None:
    """Move, cancel, hold and release orders, and correct a patient."""
    _each(stage, "4 orders moved, 2 of them to tomorrow (XO)", _moves(day), "XO", "SC")
    cancelled = [day.take_late(modality) for modality in ("CT", "MR", "US")]
    _each(stage, "3 orders cancelled (CA)", cancelled, "CA", "CA")
    held = [day.take_late("MR"), day.take_late("CT")]
    _each(stage, "2 orders held (HD): scanners don't see them", held, "HD")
    _each(stage, "1 of them released (RL)", held[1:], "RL")
    _correct(stage, day.take_late("DX"))


def _moves(day: Programme) -> list[Order]:
    soon = [day.take_late(modality) for modality in ("DX", "US")]
    later = [day.take_late(modality) for modality in ("MR", "CT")]
    return [order.at(order.start + timedelta(hours=1, minutes=30)) for order in soon] + [
        order.at(order.start + timedelta(days=1)) for order in later
    ]


def _each(stage: Stage, what: str, orders: Sequence[Order], control: str, status: str = "") -> None:
    with stage.step("RIS", what) as came:
        for order in orders:
            taken(stage.order("ORM^O01", order, control, status))
        came.append("AA" if len(orders) == 1 else "AA each")


def _correct(stage: Stage, order: Order) -> None:
    """Correct what is known of a patient."""
    person = order.patient.person._replace(birth_date="19770707")
    with stage.step("RIS", "a birth date corrected (ADT^A08)") as came:
        patient = Patient(order.patient.patient_id, person)
        segments = ["EVN||20260101", patient.segment, "PV1||O"]
        came.append(taken(stage.ris.tell("ADT^A08", segments, stage.now(), person.charset)))


def merge(stage: Stage, day: Programme) -> None:
    """Register somebody twice, order something for the second record, and merge the two."""
    kept = day.take_late("DX")
    double = Patient(f"{stage.run}-TWICE", kept.patient.person)
    text = "Ultrasound of the abdomen"
    second = Order(double, f"{stage.run}-M1", "US", "USABD", text, kept.start)
    with stage.step("RIS", "a patient registered twice, merged (ADT^A40)") as came:
        taken(stage.order("ORM^O01", second, "NW"))
        segments = ["EVN||20260101", kept.patient.segment, f"MRG|{double.identifier}"]
        charset = kept.patient.person.charset
        came.append(taken(stage.ris.tell("ADT^A40^ADT_A39", segments, stage.now(), charset)))


def expire(stage: Stage) -> None:
    """Order something for a day that is long past: nobody has come, and it expires."""
    start = stage.now() - timedelta(days=stage.settings.close.expire_days + 5)
    patient = Patient(f"{stage.run}-GONE", PEOPLE[0])
    order = Order(patient, f"{stage.run}-E1", "MR", "MRKNEE", "MR of the knee", start)
    with stage.step("RIS", f"an order of {start:%d.%m.}: nobody came, it expires") as came:
        came.append(taken(stage.order("ORM^O01", order, "NW")))


def misspeak(stage: Stage, day: Programme) -> None:
    """Say what can't be taken, or not without a word for a person."""
    known = day.orders[-1]
    stranger = Patient(f"{stage.run}-OTHER", PEOPLE[0])
    _wrong(stage, "AE", "an order's number for another patient", known.of(stranger))
    nobody = known.segments("NW")
    nobody[0] = "PID|||||Doe^Jane"
    _told(stage, "AE", "an order without a patient's identifier", "ORM^O01", nobody)
    _told(stage, "AR", "a document: no type for us", "MDM^T02", [stranger.segment])
    _told(stage, "AR", "a bed: no event for us", "ADT^A20", [stranger.segment])
    _told(stage, "AR", "training data: MSH-11 is T", "ORM^O01", known.segments("NW"), msh_11="T")
    _unreadable(stage)
    _flagged(stage, known)


def _wrong(stage: Stage, code: str, what: str, order: Order) -> None:
    with stage.step("RIS", what) as came:
        came.extend(_expected(code, stage.order("ORM^O01", order, "NW")))


def _told(
    stage: Stage, code: str, what: str, kind: str, segments: list[str], **header: str
) -> None:
    with stage.step("RIS", what) as came:
        came.extend(_expected(code, stage.ris.tell(kind, segments, stage.now(), **header)))


def _unreadable(stage: Stage) -> None:
    with stage.step("RIS", "NUL bytes: can't be read, and is kept") as came:
        header = f"MSH|^~\\&|DEMO-RIS|DEMO|MWL||{stage.now():%Y%m%d%H%M%S}||ORM^O01|"
        message = f"{header}{stage.run}-NUL|P|2.5.1\rPID|||\0\0\0||Doe^Jane\r"
        came.extend(_expected("AE", stage.ris.send(message.encode())))


def _flagged(stage: Stage, known: Order) -> None:
    """Send what is taken, though it is odd: no such modality, and a wrong character set."""
    patient = Patient(f"{stage.run}-ODD", PEOPLE[1])
    order = Order(patient, f"{stage.run}-F1", "SCANNER", "ODD", "Whatever", known.start)
    with stage.step("RIS", "a modality that nobody knows: flagged") as came:
        came.append(taken(stage.order("ORM^O01", order, "NW")))


def _expected(code: str, ack: Ack) -> list[str]:
    if ack.code != code:
        raise Failed(f"the server answered {ack.code} where the demo expects {code}: {ack.text}")
    return [code, ack.text]
