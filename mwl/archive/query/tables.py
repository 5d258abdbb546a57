"""The tables of the archive as a query sees them, and what of them is served."""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, FromClause, exists, literal_column

from mwl.archive.query.model import Level
from mwl.db.tables import Instance, Series, StoredObject, Study
from mwl.studies import ObjectState


class Tables(NamedTuple):
    """A study, a series of it and an instance of that: the tables, or aliases of them."""

    study: Any
    series: Any
    instance: Any

    def at(self, level: Level) -> FromClause:
        """Join what lies above a level's rows to them. A patient's rows are its studies."""
        rows: FromClause = self.study
        if Level.STUDY.is_above(level):
            rows = rows.join(self.series, self.series.c.study == self.study.c.id)
        if level is Level.IMAGE:
            rows = rows.join(self.instance, self.instance.c.series == self.series.c.id)
        return rows

    def row(self, level: Level) -> Any:
        """Give the column that numbers a level's rows."""
        tables = {Level.SERIES: self.series, Level.IMAGE: self.instance}
        return tables.get(level, self.study).c.id


OBJECT = StoredObject.__table__  # type: ignore[attr-defined]
MAIN = Tables(
    Study.__table__,  # type: ignore[attr-defined]
    Series.__table__,  # type: ignore[attr-defined]
    Instance.__table__,  # type: ignore[attr-defined]
)
# What lies below a row, apart from the row's own joins.
BELOW = Tables(
    MAIN.study.alias("other_study"),
    MAIN.series.alias("below_series"),
    MAIN.instance.alias("below"),
)
_object = OBJECT.alias("below_object")
_IS_SERVED = _object.c.state == literal_column(f"'{ObjectState.SERVED}'")

SERVED_INSTANCES: FromClause = BELOW.instance.join(
    _object, (_object.c.instance == BELOW.instance.c.id) & _IS_SERVED
)
SERIES_OF_SERVED: FromClause = BELOW.series.join(
    SERVED_INSTANCES, BELOW.instance.c.series == BELOW.series.c.id
)


def study_shows(study: Any) -> ColumnElement[bool]:
    """Say that something of a study is served."""
    return exists().select_from(SERIES_OF_SERVED).where(BELOW.series.c.study == study.c.id)


def series_shows(series: Any) -> ColumnElement[bool]:
    """Say that something of a series is served."""
    return exists().select_from(SERVED_INSTANCES).where(BELOW.instance.c.series == series.c.id)


def shows(level: Level, of: Tables) -> ColumnElement[bool]:
    """Say that a row of a level is found at all: something of it is served."""
    match level:
        case Level.IMAGE:
            is_its = _object.c.instance == of.instance.c.id
            return exists().select_from(_object).where(is_its, _IS_SERVED)
        case Level.SERIES:
            return series_shows(of.series)
        case _:
            return study_shows(of.study)
