"""What a scanner wants of a worklist entry and a message does not say (PS3.4 table K.6-1)."""

from collections.abc import Iterator, Sequence
from typing import Any

from hl7.explain.model import Missing
from mwl.orders import Action, OrderChange, ProcedureChange, StepChange, StudyUidPolicy

_CREATES = frozenset({Action.CREATE, Action.UPDATE, Action.HOLD, Action.RELEASE})
_EMPTY = "scanners are shown an empty one"


def missing(changes: Sequence[Any]) -> list[Missing]:
    """List what the orders of a message leave open, were they new."""
    found: dict[Missing, None] = {}
    orders = [each for each in changes if isinstance(each, OrderChange)]
    for number, order in enumerate(orders, 1):
        if order.action in _CREATES:
            name = f"order {number}" if len(orders) > 1 else ""
            found.update(dict.fromkeys(_of_order(order, name)))
    return list(found)


def _of_order(order: OrderChange, name: str) -> Iterator[Missing]:
    if not order.patient.id.id:
        yield Missing(name, "Patient ID", "the message is refused")
    if not order.patient.fields.get("patient_name"):
        yield Missing(name, "Patient's Name", _EMPTY)
    for number, procedure in enumerate(order.procedures, 1):
        below = [name] if name else []
        if len(order.procedures) > 1:
            below.append(f"procedure {number}")
        yield from _of_procedure(order, procedure, ", ".join(below))


def _of_procedure(order: OrderChange, procedure: ProcedureChange, name: str) -> Iterator[Missing]:
    stated = procedure.fields
    if procedure.study_uid is None:
        refused = order.study_uid_policy is StudyUidPolicy.REJECT
        then = "the message is refused" if refused else "one is made, once"
        yield Missing(name, "Study Instance UID", then)
    if procedure.requested_procedure_id is None:
        yield Missing(name, "Requested Procedure ID", "one is made, once")
    if not stated.get("accession_number"):
        yield Missing(name, "Accession Number", "images are matched by Study Instance UID alone")
    if not (stated.get("description") or stated.get("code_value")):
        yield Missing(name, "Requested Procedure Description or Code", _EMPTY)
    for number, step in enumerate(procedure.steps, 1):
        several = len(procedure.steps) > 1
        below = ", ".join(filter(None, (name, f"step {number}" if several else "")))
        yield from _of_step(step, below)


def _of_step(step: StepChange, name: str) -> Iterator[Missing]:
    if step.sps_id is None:
        yield Missing(name, "Scheduled Procedure Step ID", "one is made, once")
    if not step.fields.get("modality"):
        yield Missing(name, "Modality", "scanners of any modality find it")
    if step.start is None:
        yield Missing(name, "Scheduled Procedure Step Start", "a new one is scheduled for now")
    if not step.stations:
        then = "all devices of the modality; of none or very many, any that asks for it"
        yield Missing(name, "Scheduled Station AE Title", then)
    if not (step.fields.get("description") or step.fields.get("protocol_value")):
        yield Missing(name, "Scheduled Procedure Step Description or Protocol Code", _EMPTY)
