"""What the rows of a level can tell, and by what of them they are matched."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Text, case, cast, func, literal, select

from mwl.archive.query.model import Level
from mwl.archive.query.tables import (
    BELOW,
    MAIN,
    OBJECT,
    SERIES_OF_SERVED,
    SERVED_INSTANCES,
    Tables,
    series_shows,
    study_shows,
)
from mwl.db.tables import Patient
from mwl.studies import ObjectState

Column = ColumnElement[str]

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_t, _s, _i = MAIN.study.c, MAIN.series.c, MAIN.instance.c
_below_series, _below = BELOW.series, BELOW.instance
_other = BELOW.study


def _text(column: ColumnElement[Any]) -> Column:
    return func.coalesce(cast(column, Text), "")


def _seconds(time: Column) -> Column:
    """Give HHMMSS of a TM, "" if it is unknown."""
    return case((time == "", ""), else_=func.substr(time + "000000", 1, 6))


def _instant(date: Column, time: Column) -> Column:
    """Give YYYYMMDDHHMMSS, "" if either is unknown."""
    return case(((date == "") | (time == ""), ""), else_=date + _seconds(time))


def _listed(values: Column, rows: FromClause, *of: ColumnElement[bool], dialect: str) -> Column:
    """Join the different values with backslashes."""
    if dialect == "sqlite":
        # Its DISTINCT takes no separator. Neither a CS nor a UID holds a comma.
        joined = func.replace(func.group_concat(values.distinct()), ",", "\\")
    else:
        joined = func.string_agg(values.distinct(), cast(literal("\\"), Text))
    return _text(select(joined).select_from(rows).where(*of, values != "").scalar_subquery())


def _counted(rows: FromClause, *of: ColumnElement[bool]) -> Column:
    return _text(select(func.count()).select_from(rows).where(*of).scalar_subquery())


def _of_patient() -> dict[str, Column]:
    is_same = (_other.c.patient_id == _t.patient_id) & (
        _other.c.patient_id_issuer == _t.patient_id_issuer
    )
    is_study_of_it = _other.join(_below_series, _below_series.c.study == _other.c.id)
    known = select(_PATIENT.c.other_ids).where(_PATIENT.c.id == _t.patient)
    return {
        "patient_name": _t.patient_name,
        "patient_id": _t.patient_id,
        "issuer": _t.patient_id_issuer,
        "birth_date": _t.birth_date,
        "sex": _t.sex,
        "other_ids": func.coalesce(
            cast(known.scalar_subquery(), Text), "[]"
        ),  # JSON: [[id, issuer, type], …]
        "patient_studies": _counted(_other, is_same, study_shows(_other)),
        "patient_series": _counted(is_study_of_it, is_same, series_shows(_below_series)),
        "patient_instances": _counted(
            _other.join(SERIES_OF_SERVED, _below_series.c.study == _other.c.id), is_same
        ),
    }


def _of_study(dialect: str) -> dict[str, Column]:
    is_its = _below_series.c.study == _t.id
    return {
        "study_instance_uid": _t.study_instance_uid,
        "accession_number": _t.accession_number,
        "study_id": _t.study_id,
        "study_date": _t.study_date,
        "study_time": _t.study_time,
        "study_start": _t.study_date + " " + _t.study_time,
        "study_description": _t.description,
        "referring_physician": _t.referring_physician,
        "modalities": _listed(
            _below_series.c.modality,
            _below_series,
            is_its,
            series_shows(_below_series),
            dialect=dialect,
        ),
        "sop_classes": _listed(_below.c.sop_class_uid, SERIES_OF_SERVED, is_its, dialect=dialect),
        "study_series": _counted(_below_series, is_its, series_shows(_below_series)),
        "study_instances": _counted(SERIES_OF_SERVED, is_its),
    }


def _of_series() -> dict[str, Column]:
    return {
        "series_instance_uid": _s.series_instance_uid,
        "modality": _s.modality,
        "series_number": _s.series_number,
        "series_description": _s.description,
        "body_part": _s.body_part,
        "series_date": _s.series_date,
        "series_time": _s.series_time,
        "series_start": _s.series_date + " " + _s.series_time,
        "station_name": _s.station_name,
        "request": _text(_s.request),  # JSON: [{keyword: value}]
        "series_instances": _counted(SERVED_INSTANCES, _below.c.series == _s.id),
    }


def _of_image() -> dict[str, Column]:
    of_it = OBJECT.c.instance == _i.id
    served = select(OBJECT.c.transfer_syntax).where(of_it, OBJECT.c.state == ObjectState.SERVED)
    return {
        "sop_instance_uid": _i.sop_instance_uid,
        "sop_class_uid": _i.sop_class_uid,
        "instance_number": _i.instance_number,
        "rows": _text(_i.rows),
        "columns": _text(_i.columns),
        "frames": _text(_i.frames),
        "transfer_syntax": _text(served.limit(1).scalar_subquery()),
    }


@lru_cache
def _by_level(dialect: str) -> Mapping[Level, Mapping[str, Column]]:
    return {
        Level.PATIENT: _of_patient(),
        Level.STUDY: _of_study(dialect),
        Level.SERIES: _of_series(),
        Level.IMAGE: _of_image(),
    }


@lru_cache
def told(level: Level, dialect: str) -> Mapping[str, Column]:
    """Give what a row of a level can tell, of itself and of what lies above, all of it text."""
    return {
        name: column
        for each, columns in _by_level(dialect).items()
        if not level.is_above(each)
        for name, column in columns.items()
    }


@lru_cache
def level_of(name: str) -> Level:
    """Tell the level that a key belongs to."""
    if name.startswith(REQUEST):
        return Level.SERIES
    return next(level for level, columns in _by_level("sqlite").items() if name in columns)


# Keys of what is inside (0040,0275) begin with it; a keyword follows.
REQUEST = "request_"


def matched(name: str, of: Tables, dialect: str) -> Column:
    """Give what a key is matched by; not where its values lie below the row, or in a list."""
    study, series, instance = of.study.c, of.series.c, of.instance.c
    match name:
        case "issuer":
            column = _namespace(study.patient_id_issuer, dialect)
        case "study_time":
            column = _seconds(study.study_time)
        case "study_start":
            column = _instant(study.study_date, study.study_time)
        case "modality":
            # So that its index, made for lists of the newest, is no way in: half of all has it.
            column = series.modality + ""
        case "series_time":
            column = _seconds(series.series_time)
        case "series_start":
            column = _instant(series.series_date, series.series_time)
        case _:
            table = {Level.SERIES: series, Level.IMAGE: instance}.get(level_of(name), study)
            column = table[_COLUMNS.get(name, name)]
    return column


_COLUMNS = {
    "patient_name": "name_key",
    "referring_physician": "referring_physician_key",
    "study_description": "description",
    "series_description": "description",
}


def worded(name: str, of: Tables) -> Column:
    """Give the words that a name is matched by where fuzzy matching was agreed on."""
    column: Column = of.study.c[_WORDS[name]]
    return column


_WORDS = {"patient_name": "name_words", "referring_physician": "referring_physician_words"}


def _namespace(issuer: Column, dialect: str) -> Column:
    """Take the local namespace out of namespace^universal ID^type."""
    if dialect != "sqlite":
        return func.split_part(issuer, "^", 1)
    return func.substr(issuer, 1, func.instr(issuer + "^", "^") - 1)
