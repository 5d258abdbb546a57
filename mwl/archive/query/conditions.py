"""The keys of a query as SQL: of the row itself, of what lies above, and of what lies below."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    exists,
    func,
    literal_column,
    select,
    union,
)

from mwl.archive.query.columns import REQUEST, level_of, matched, worded
from mwl.archive.query.model import UNIQUE_KEYS, Level
from mwl.archive.query.tables import (
    BELOW,
    MAIN,
    SERIES_OF_SERVED,
    SERVED_INSTANCES,
    Tables,
    series_shows,
)
from mwl.db.matching import Parameters, Shape, condition, is_fuzzy, parameters, shape
from mwl.matching import AnyOf, Matcher, Name

# What decides a statement of the keys: their names and shapes. Hashable.
Shapes = tuple[tuple[str, Shape], ...]
_Conditions = list[ColumnElement[bool]]


def shapes_of(keys: Mapping[str, Matcher]) -> Shapes:
    """Tell what of the keys decides the statement."""
    return tuple((name, shape(key)) for name, key in keys.items())


def parameters_of(keys: Mapping[str, Matcher], dialect: str) -> Parameters:
    """Give the values for what `conditions` names."""
    values: Parameters = {}
    for name, key in keys.items():
        values |= parameters(name, key, dialect)
    return values


def conditions(level: Level, shapes: Shapes, dialect: str, of: Tables = MAIN) -> _Conditions:
    """Build what the rows of a level must meet.

    Keys of levels below are met by one and the same series or instance, which is served.
    """
    names = dict(shapes)
    own: list[tuple[str, Shape]] = []
    below: list[tuple[str, Shape]] = []
    for name, shape_ in shapes:
        # A patient's rows are its studies.
        is_below = max(level, Level.STUDY, key=_depth).is_above(level_of(name))
        (below if is_below else own).append((name, shape_))
    met = _met(own, of, dialect)
    if _WAYS_IN.isdisjoint(names) and names.get("patient_name", (None,))[0] is Name:
        met.append(_named(names["patient_name"], of, dialect))
    if below:
        met.append(_below(level, below, of, dialect))
    return met


# Each finds few rows by an index of its own.
_WAYS_IN = {*UNIQUE_KEYS.values(), "accession_number", "study_date"}


def _named(shape_: Shape, of: Tables, dialect: str) -> ColumnElement[bool]:
    """Say the same as the name's own condition, but so that indexes find the few that meet it.

    Of a name of one group the whole is compared; the others have an index of their own.
    """
    each = MAIN.study.alias("named")
    cut = func.strpos if dialect == "postgresql" else func.instr
    has_groups = cut(each.c.name_key, literal_column("'='")) > literal_column("0")
    whole = condition(each.c.name_key, "patient_name", (AnyOf, *shape_[1:]), dialect)
    in_groups = condition(each.c.name_key, "patient_name", shape_, dialect)
    found = union(select(each.c.id).where(whole), select(each.c.id).where(has_groups, in_groups))
    is_named: ColumnElement[bool] = of.study.c.id.in_(found)
    return is_named


def _depth(level: Level) -> int:
    return list(Level).index(level)


def _met(shapes: Iterable[tuple[str, Shape]], of: Tables, dialect: str) -> _Conditions:
    met: _Conditions = []
    requests = []
    for name, shape_ in shapes:
        if name.startswith(REQUEST):
            requests.append((name, shape_))
        elif name in _IN_STUDY:
            met.append(_in_study(name, shape_, of, dialect))
        else:
            column = worded(name, of) if is_fuzzy(shape_) else matched(name, of, dialect)
            met.append(condition(column, name, shape_, dialect))
    if requests:
        met.append(_requested(requests, of, dialect))
    return met


_IN_STUDY = {
    "modalities": BELOW.series.c.modality,
    "sop_classes": BELOW.instance.c.sop_class_uid,
}


def _in_study(name: str, shape_: Shape, of: Tables, dialect: str) -> ColumnElement[bool]:
    """Say that a study has it: any series or instance of it has."""
    is_matched = condition(_IN_STUDY[name], name, shape_, dialect)
    is_its = BELOW.series.c.study == of.study.c.id
    if name == "modalities":
        found = select(BELOW.series.c.id).select_from(BELOW.series)
        return _is_any(found.where(is_its, is_matched, series_shows(BELOW.series)), dialect)
    found = select(BELOW.series.c.id).select_from(SERIES_OF_SERVED)
    return _is_any(found.where(is_its, is_matched), dialect)


def _is_any(found: Select[Any], dialect: str) -> ColumnElement[bool]:
    """Say that there is one, looked for by row: not, as PostgreSQL might, among all rows first."""
    return exists(found if dialect == "sqlite" else found.offset(literal_column("0")))


def _below(
    level: Level, shapes: list[tuple[str, Shape]], of: Tables, dialect: str
) -> ColumnElement[bool]:
    """Say that something below a row meets all of these."""
    names = {name for name, _ in shapes}
    met = _met(shapes, Tables(of.study, BELOW.series, BELOW.instance), dialect)
    rows: FromClause = SERIES_OF_SERVED
    above, row = BELOW.series.c.study, of.study.c.id
    if level is Level.SERIES:
        rows, above, row = SERVED_INSTANCES, BELOW.instance.c.series, of.series.c.id
    elif Level.IMAGE not in map(level_of, names):
        rows = BELOW.series
        met.append(series_shows(BELOW.series))
    if names.isdisjoint(UNIQUE_KEYS.values()):
        return _is_any(select(above).select_from(rows).where(above == row, *met), dialect)
    # Few are below: they lead to what is above them.
    is_above: ColumnElement[bool] = row.in_(select(above).select_from(rows).where(*met))
    return is_above


def _requested(shapes: list[tuple[str, Shape]], of: Tables, dialect: str) -> ColumnElement[bool]:
    """Say that one item of (0040,0275) meets all of these (PS3.4 C.2.2.2.6)."""
    items = of.series.c.request
    if dialect == "sqlite":
        item = func.json_each(items).table_valued("value", name="item").c.value
    else:
        item = func.jsonb_array_elements(items).column_valued("item")
    met = (
        condition(_told(item, name.removeprefix(REQUEST), dialect), name, shape_, dialect)
        for name, shape_ in shapes
    )
    return exists().where(*met)


def _told(item: Any, keyword: str, dialect: str) -> ColumnElement[str]:
    if dialect == "sqlite":
        return func.coalesce(func.json_extract(item, f"$.{keyword}"), "")
    return func.coalesce(func.jsonb_extract_path_text(item, keyword), "")
