"""Rows of performed steps and of the archive, for tests of how orders end."""

import itertools
from datetime import datetime

from sqlmodel import select

from mwl.db.tables import (
    Delivery,
    Device,
    ImagingOrder,
    Instance,
    PerformedInstance,
    PerformedLink,
    PerformedStep,
    RequestedProcedure,
    ScheduledStep,
    Series,
    StoredObject,
    Study,
)
from mwl.outbox import Destination, Destinations

CT = "1.2.840.10008.5.1.4.1.1.2"
TOLD = Destinations((Destination("ris", frozenset({"IP", "CM", "DC", "CLOSED"})),))
_numbers = itertools.count(1)


def device(session, title, *, mpps=True, modality="CT", now, **more):
    times = {"created_at": now, "updated_at": now}
    row = Device(ae_title=title, mpps=mpps, modality=modality, **times, **more)
    session.add(row)


def report(
    session, steps, state="COMPLETED", listed=(), *, at: datetime, by="step", **stated
) -> int:
    """Write an MPPS of steps (SPS IDs) in its last state, reached at `at`; return its row."""
    uid = f"1.2.9.{next(_numbers)}"
    final_at = None if state == "IN PROGRESS" else at
    stated = {"ae_title": "CT1", "created_at": at, "updated_at": at, **stated}
    row = PerformedStep(sop_instance_uid=uid, state=state, final_at=final_at, **stated)
    session.add(row)
    session.flush()
    for sps_id in steps:
        step = session.exec(select(ScheduledStep).where(ScheduledStep.sps_id == sps_id)).one()
        session.add(PerformedLink(performed_step=row.id, scheduled_step=step.id, by=by))
    for instance in listed:
        session.add(PerformedInstance(performed_step=row.id, sop_instance_uid=instance))
    return row.id


def store(session, uid, study_uid, *, at: datetime, source="CT1", state="served", request=()):
    """Write an image of the study, as the archive would; linked where a procedure has it."""
    study = _study(session, study_uid, at)
    series = Series(
        study=study, series_instance_uid=f"{uid}.7", request=list(request), created_at=at
    )
    session.add(series)
    session.flush()
    instance = Instance(series=series.id, sop_instance_uid=uid, sop_class_uid=CT, created_at=at)
    session.add(instance)
    session.flush()
    session.add(
        StoredObject(
            instance=instance.id,
            key=f"key {uid}",
            state=state,
            size=1000,
            data_set_offset=300,
            sha256=b"",
            transfer_syntax="1.2.840.10008.1.2.1",
            source=source,
            sop_instance_uid=uid,
            received_at=at,
        )
    )


def set_aside(session, uid, *, at: datetime, source="CT1"):
    """Write a version that contradicts what is there under its UID."""
    session.add(
        StoredObject(
            key=f"aside {uid} {source}",
            state="quarantined",
            size=1000,
            data_set_offset=300,
            sha256=b"",
            transfer_syntax="1.2.840.10008.1.2.1",
            source=source,
            sop_instance_uid=uid,
            received_at=at,
        )
    )
    session.flush()


def _study(session, uid: str, at: datetime) -> int:
    known = session.exec(select(Study).where(Study.study_instance_uid == uid)).first()
    if known is None:
        wanted = select(RequestedProcedure.id).where(RequestedProcedure.study_instance_uid == uid)
        procedure = session.exec(wanted).first()
        known = Study(study_instance_uid=uid, requested_procedure=procedure, created_at=at)
        session.add(known)
        session.flush()
    return known.id


def end_step(session, sps_id, state="COMPLETED"):
    """Write what became of a step, and of its order."""
    step = session.exec(select(ScheduledStep).where(ScheduledStep.sps_id == sps_id)).one()
    step.state = state
    session.add(step)


def only(database, table):
    with database.read() as session:
        found = session.exec(select(table)).one()
        session.expunge_all()
        return found


def order(database) -> ImagingOrder:
    return only(database, ImagingOrder)


def told(database) -> list[str]:
    """List the events that were queued, in their order."""
    with database.read() as session:
        rows = session.exec(select(Delivery).order_by(Delivery.id)).all()
        return [row.payload["event"] for row in rows]
