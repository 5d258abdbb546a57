"""What scanners tell: N-CREATE begins an MPPS, N-SET changes and ends it.

Each function is one transaction: the data set as received, what it says, the steps it
carries out, their states, their orders' states, what others are told of it, and other PPS
managers sent of it.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlmodel import Session

from mwl import outbox
from mwl.devices.titles import own
from mwl.errors import Fault, Reason, Rejected
from mwl.outbox import BEGUN, About, Operation
from mwl.performed import Created, Modified, PerformedState, Request, Stated
from mwl.procedures import matching, rows
from mwl.procedures.effects import Effects
from mwl.procedures.matching import Match, Subject
from mwl.procedures.moving import carry
from mwl.procedures.wrong import send_to_reconciliation


def start(session: Session, created: Created, *, effects: Effects, now: datetime) -> list[str]:
    """Begin an MPPS, IN PROGRESS; return what is odd about it.

    Raises Rejected: DUPLICATE_KEY where its SOP Instance UID is known.
    """
    conn = session.connection()
    subject = Subject(
        created.patient_id, created.patient_id_issuer, created.modality, created.patient_name
    )
    found = matching.find(conn, created.requests, subject)
    flags = [*created.flags, *found.flags, *matching.flags_of(found.matches)]
    if found.unscheduled:
        flags.append("no order on file for it")
    row = rows.create(conn, _values(created, found.unscheduled, flags, now), _duplicate)
    operation = _operation(BEGUN, PerformedState.IN_PROGRESS, created)
    rows.keep(conn, row, operation, now)
    outbox.pass_on(session, effects.managers, _about(row, created), operation, now)
    rows.list_instances(conn, row, created.listed)
    for match in found.matches:
        rows.link(conn, row, match.step, match.by)
    begun = Stated(PerformedState.IN_PROGRESS)
    moved = carry(session, row, begun, found.matches, effects, now)
    new = [flag for flag in dict.fromkeys(moved) if flag not in flags]
    if new:
        performed = rows.hold_row(conn, row).first()._asdict()
        rows.change(conn, {**performed, "flags": rows.remember(flags, new)})
    return [*flags, *new]


def update(session: Session, modified: Modified, *, effects: Effects, now: datetime) -> list[str]:
    """Change an MPPS, or end it; return what is odd about it.

    Raises Rejected: UNKNOWN_KEY where there is none with this UID, FINAL where it has ended.
    """
    conn = session.connection()
    held = rows.hold(conn, modified.sop_instance_uid)
    # Links are made by those alone who hold the MPPS.
    linked = matching.ask_linked(conn, modified.sop_instance_uid)
    row = held.first()
    if row is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "", "no such performed procedure step"))
    performed = row._asdict()
    if performed["state"] != PerformedState.IN_PROGRESS:
        raise Rejected(Fault(Reason.FINAL, "", f"it is {performed['state']} already"))
    operation = _operation("N-SET", modified.state or "", modified)
    rows.keep(conn, row.id, operation, now)
    outbox.pass_on(session, effects.managers, _about(row.id, row), operation, now)
    if modified.listed is not None:
        rows.list_instances(conn, row.id, modified.listed, again=True)
    flags = [*modified.flags]
    began = performed["ae_title"]
    if modified.ae_title != began and own(conn, modified.ae_title) != own(conn, began):
        flags.append(f"changed by {modified.ae_title}, which did not begin it")
    state = modified.state or PerformedState.IN_PROGRESS
    performed |= {"state": state, "updated_at": now}
    for name in ("end_local", "discontinuation"):
        stated = getattr(modified, name)
        if stated is not None:
            performed[name] = stated
    performed["flags"] = rows.remember(performed["flags"], flags)
    if state is PerformedState.IN_PROGRESS:
        rows.change(conn, performed)
        return flags
    return [*flags, *ended(session, performed, matching.linked(linked), effects, now)]


def ended(
    session: Session,
    performed: rows.Row,
    matches: Collection[Match],
    effects: Effects,
    now: datetime,
) -> list[str]:
    """Do what follows from the end of an MPPS that is held; return what is odd.

    `matches` are the steps that it is linked with.
    """
    conn = session.connection()
    performed["final_at"] = now
    # What reads it from here on, the close rule above all, shall read what it is now.
    rows.change(conn, performed)
    stated = Stated(performed["state"], performed["discontinuation"])
    flags = carry(session, performed["id"], stated, matches, effects, now)
    if stated.is_wrong_entry:
        flags += send_to_reconciliation(conn, performed)
    if flags:
        rows.change(conn, {**performed, "flags": rows.remember(performed["flags"], flags)})
    return flags


def _operation(name: str, state: str, said: Created | Modified) -> Operation:
    return Operation(name, str(state), said.ae_title, said.transfer_syntax, said.data_set)


def _about(row: int, begun: Any) -> About:
    return About(row, begun.sop_instance_uid, begun.ae_title)


def _values(created: Created, unscheduled: bool, flags: list[str], now: datetime) -> rows.Row:
    first = created.requests[0] if created.requests else Request("")
    return {
        "sop_instance_uid": created.sop_instance_uid,
        "state": PerformedState.IN_PROGRESS,
        "ae_title": created.ae_title,
        "station_ae_title": created.station_ae_title,
        "modality": created.modality,
        "patient_id": created.patient_id,
        "patient_id_issuer": created.patient_id_issuer,
        "patient_name": created.patient_name,
        "study_instance_uid": first.study_instance_uid,
        "accession_number": first.accession_number,
        "performed_step_id": created.performed_step_id,
        "start_local": created.start_local,
        "end_local": created.end_local,
        "discontinuation": created.discontinuation,
        "requests": [
            [each.study_instance_uid, each.sps_id, each.accession_number]
            for each in created.requests
        ],
        "unscheduled": unscheduled,
        "flags": rows.remember([], flags),
        "created_at": now,
        "updated_at": now,
    }


def _duplicate() -> Rejected:
    text = "a performed procedure step with this UID is on file"
    return Rejected(Fault(Reason.DUPLICATE_KEY, "", text))
