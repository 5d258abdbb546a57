"""/api/v1/studies: what the archive holds."""

from datetime import datetime
from typing import Any

from flask import Blueprint
from pydantic import BaseModel, Field
from spectree import Tag

from mwl.accounts import Role
from mwl.archive import browse, following
from web.api.endpoints import Day, Found, Listed, absent, endpoint, found, place
from web.guard import viewed
from web.wiring import wired

blueprint = Blueprint("studies", __name__, url_prefix="/studies")

TAG = Tag(name="Studies", description="Studies of the archive, their series and instances.")


class Study(BaseModel):
    """A study, as its first instance describes it; its patient and order as they are known now."""

    id: int = Field(description="The number of the study here.")
    study_instance_uid: str = Field(description="Study Instance UID (0020,000D).")
    patient_id: str = Field(description="Patient ID (0010,0020).")
    patient_name: str = Field(description="Patient's Name (0010,0010).")
    birth_date: str = Field(description="Patient's Birth Date (0010,0030).")
    accession_number: str = Field(description="Accession Number (0008,0050).")
    study_date: str = Field(description="Study Date (0008,0020).")
    study_time: str = Field(description="Study Time (0008,0030).")
    description: str = Field(description="Study Description (0008,1030).")
    order: int | None = Field(description="The number of the order that asked for it.")
    matched_by: str = Field(description="How that is known.")
    received_at: datetime = Field(description="When its first instance came.")


class FoundStudy(Study):
    """A study of a list."""

    modalities: list[str] = Field(description="Modalities in Study (0008,0061).")
    series: int = Field(description="Number of Study Related Series (0020,1206).")
    instances: int = Field(description="Number of Study Related Instances (0020,1208).")


class Instance(BaseModel):
    """An instance that is served."""

    id: int = Field(description="The number of the instance here.")
    sop_class_uid: str = Field(description="SOP Class UID (0008,0016).")
    number: str = Field(description="Instance Number (0020,0013).")
    frames: int = Field(description="Number of Frames (0028,0008).")
    size: int = Field(description="Bytes of its file.")


class Series(BaseModel):
    """A series with the instances that are served of it, in order."""

    id: int = Field(description="The number of the series here.")
    series_instance_uid: str = Field(description="Series Instance UID (0020,000E).")
    modality: str = Field(description="Modality (0008,0060).")
    series_number: str = Field(description="Series Number (0020,0011).")
    description: str = Field(description="Series Description (0008,103E).")
    body_part: str = Field(description="Body Part Examined (0018,0015).")
    instances: list[Instance]


class AsReceived(BaseModel):
    """What the images of a study say where the study says something else now; null: the same."""

    patient_name: str | None = Field(None, description="Patient's Name (0010,0010).")
    patient_id: str | None = Field(None, description="Patient ID (0010,0020).")
    patient_id_issuer: str | None = Field(None, description="Issuer of Patient ID (0010,0021).")
    birth_date: str | None = Field(None, description="Patient's Birth Date (0010,0030).")
    sex: str | None = Field(None, description="Patient's Sex (0010,0040).")
    accession_number: str | None = Field(None, description="Accession Number (0008,0050).")


class FullStudy(Study):
    """A study with its series, by number."""

    coerced: bool = Field(description="Images go out with other values than they came with.")
    differs: bool = Field(
        description="Some images contradict whatever the patient is known as: another's, perhaps."
    )
    as_received: AsReceived
    series: list[Series]


class StudySearch(Listed):
    """Which studies; all that is given must hold."""

    text: str = Field(
        "",
        max_length=200,
        description="A patient ID, accession number, Study Instance UID, or a name's beginning.",
    )
    patient: str = Field("", max_length=64, description="Patient ID (0010,0020).")
    accession: str = Field("", max_length=64, description="Accession Number (0008,0050).")
    modality: str = Field("", max_length=16, description="The modality of one of its series.")
    day: Day | None = Field(None, description="Study Date (0008,0020), with hyphens.")
    unmatched: bool = Field(False, description="Only studies whose order is not known.")


@blueprint.get("")
@endpoint(Role.VIEWER, TAG, Found[FoundStudy], problems=(422,))
def search(query: StudySearch) -> Found[FoundStudy]:
    """Find studies, the newest first."""
    wanted = browse.Wanted(
        text=query.text,
        patient=query.patient,
        accession=query.accession,
        modality=query.modality,
        day=(query.day or "").replace("-", ""),
        unmatched=query.unmatched,
    )
    keys = place(query.after)
    after = int(keys[-1]) if keys else None
    with wired().database.read() as session:
        rows = browse.search(session, wanted, after=after, limit=query.limit + 1)
    viewed("studies", **query.model_dump(mode="json", exclude_defaults=True))
    items = [_found(row) for row in rows[: query.limit]]
    return Found[FoundStudy](items=items, after=found(rows, query.limit, lambda row: [row.id]))


@blueprint.get("/<int:study>")
@endpoint(Role.VIEWER, TAG, FullStudy, problems=(404,), numbers="The number of the study.")
def get(study: int) -> FullStudy:
    """Read a study with its series and instances."""
    with wired().database.read() as session:
        row = browse.study(session, study)
        if row is None:
            raise absent("study")
        series = browse.series_of(session, study)
    viewed(f"study:{study}")
    return FullStudy(
        **_told(row),
        coerced=row.coerced,
        differs=following.differs(row),
        as_received=AsReceived(**following.replaced(row)),
        series=[_series(each) for each in series],
    )


def _told(row: Any) -> dict[str, Any]:
    renamed = {"order": row.imaging_order, "received_at": row.created_at}
    same = (name for name in Study.model_fields if name not in renamed)
    return {**{name: getattr(row, name) for name in same}, **renamed}


def _found(row: browse.FoundStudy) -> FoundStudy:
    return FoundStudy(
        **_told(row), modalities=row.modalities, series=row.series, instances=row.instances
    )


def _series(each: browse.BrowsedSeries) -> Series:
    told = {name: getattr(each.row, name) for name in Series.model_fields if name != "instances"}
    instances = [
        Instance(
            id=one.instance,
            sop_class_uid=one.sop_class_uid,
            number=one.number,
            frames=one.frames,
            size=one.size,
        )
        for one in each.instances
    ]
    return Series(**told, instances=instances)
