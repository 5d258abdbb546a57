"""How each kind of column reads one place of a row.

An `At` gives the fields that a cell states: texts, or None for what `""` deletes. None
instead of them: the place says nothing, and the next of its chain is asked.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from hl7.columns import Column, Kind
from hl7.er7 import DELETE, Segment, Value
from hl7.mapping import names, values
from hl7.mapping.grid import Cell, Odd, Place, Row, leaf_of, occurrence, part, text_of
from hl7.mapping.identifiers import entity, extended
from hl7.mapping.report import Report
from hl7.mapping.times import NotATime, read_date
from hl7.mapping.values import LOCAL_SCHEME, MOST_VALUES
from hl7.profile_tables import ANY
from mwl.errors import Reason
from mwl.orders import Fields
from mwl.worklist import kept
from mwl.worklist.demographics import issuer_text

_CODE = 16  # (0008,0100) is an SH
# The time of DTM, or TM alone: with hours, minutes and seconds that there are (PS3.5 6.2).
_TIME = re.compile(
    r"(?:[0-9]{8})?((?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,6})?)?)?)"
    r"(?:[+-][0-9]{4})?"
)
_TRIPLETS = 5  # separators in CE: a code, and an alternate one
# From a code to the version of its scheme: CWE.1 to CWE.7, CWE.4 to CWE.8.
_VERSIONS = {1: 6, 4: 4}

At = Callable[[Cell, Row, Report], Fields | None]
Table = Mapping[str, str]


def at(column: Column, place: Place, table: Table) -> At:
    """Make the function that reads a place for a column; `table` is the column's values."""
    return _MAKERS[column.kind](column, place, table)


def repeated(segment: Segment, place: Place, most: int) -> Iterator[Value]:
    """Read every repetition of a field, whatever the place's own."""
    path = place.path
    for repetition in range(1, min(segment.count(path.field), most) + 1):
        value = segment.whole(path.field, repetition, place.component, path.subcomponent)
        if value is not None:
            yield value


def _text(column: Column, place: Place, _: Table) -> At:
    name, length, where, at = column.name, column.length, place.where, place.at

    def read(cell: Cell, _: Row, report: Report) -> Fields | None:
        value = part(cell, at) if isinstance(cell, str) else text_of(cell, place)
        if isinstance(value, str):
            text = values.line(value, length, where, report)
            return {name: text} if text else None
        return None if value is None else {name: None}

    return read


def _word(column: Column, place: Place, _: Table) -> At:
    name, length, where = column.name, column.length, place.where
    is_right = re.compile(column.form or ".+").fullmatch

    def read(cell: Cell, _: Row, report: Report) -> Fields | None:
        value = leaf_of(cell, place)
        if not isinstance(value, str):
            return None if value is None else {name: None}
        word = value.strip()
        if not word:
            return None
        if len(word) > length or not word.isprintable() or "\\" in word or not is_right(word):
            report.flag(f"{where}: not what its attribute can hold: not taken")
            return {}
        return {name: word}

    return read


def _time(column: Column, place: Place, _: Table) -> At:
    name, where = column.name, place.where

    def read(cell: Cell, _: Row, report: Report) -> Fields | None:
        value = leaf_of(cell, place)
        if not isinstance(value, str):
            return None if value is None else {name: None}
        if not (text := value.strip()):
            return None
        if found := _TIME.fullmatch(text):
            return {name: found[1]}
        report.flag(f"{where}: no time of day: not taken")
        return {}

    return read


def _name(column: Column, place: Place, _: Table) -> At:
    read_name = names.patient_name if column.kind is Kind.NAME else names.person
    name = column.name

    def read(cell: Cell, _: Row, report: Report) -> Fields | None:
        if not cell:
            return None
        value = read_name(cell, place, report)
        return None if value == "" else {name: value}

    return read


def _person(column: Column, place: Place, table: Table) -> At:
    read_name = _name(column, place, table)
    if not column.also:
        return read_name
    name, (id_name,) = column.name, column.also

    def read(cell: Cell, row: Row, report: Report) -> Fields | None:
        found = read_name(cell, row, report)
        if found is None:
            return None
        who = found[name]
        item = names.identity(cell, place, who, report) if who else None
        return {**found, id_name: kept.written([item]) if item else None}

    return read


def _persons(column: Column, place: Place, _: Table) -> At:
    name = column.name

    def read(cell: Cell, _: Row, report: Report) -> Fields | None:
        found = [names.person(each, place, report) for each in names.persons(cell, place)]
        if text := "\\".join(filter(None, found)):
            return {name: text}
        return {name: None} if None in found else None

    return read


def _identities(column: Column, place: Place, _: Table) -> At:
    name = column.name

    def read(cell: Cell, _: Row, report: Report) -> Fields | None:
        unsaid = Report()  # of a name its own column tells
        people = [(each, names.person(each, place, unsaid)) for each in names.persons(cell, place)]
        items = [names.identity(each, place, who, report) for each, who in people if who]
        if found := [item for item in items if item]:
            return {name: kept.written(found)}
        return {name: None} if any(who is None for _, who in people) else None

    return read


def _date(column: Column, place: Place, _: Table) -> At:
    name, where = column.name, place.where

    def read(cell: Cell, row: Row, report: Report) -> Fields | None:
        value = cell if isinstance(cell, str) and cell.isdigit() else leaf_of(cell, place)
        if not isinstance(value, str):
            return None if value is None else {name: None}
        if not (text := value.strip()):
            return None
        try:
            day = read_date(text)
        except NotATime as error:
            if column.aside:
                report.flag(f"{where}: {error}: not taken")
                return {}
            report.fault(Reason.MALFORMED, where, str(error), occurrence(row, place))
            return {}
        if day is None:
            report.flag(f"{where}: no whole date: not taken")
            return {}
        return {name: day}

    return read


def _coded(column: Column, place: Place, table: Table) -> At:
    name, where, other = column.name, place.where, table.get(ANY)

    def read(cell: Cell, _: Row, report: Report) -> Fields | None:
        value = leaf_of(cell, place)
        if not isinstance(value, str):
            return None if value is None else {name: None}
        if not (text := value.strip()):
            return None
        coded = table.get(text.upper())
        if coded is None:
            report.flag(f"{where}: a value that is not in [values.{column.table}]")
            coded = other
        return {} if coded is None else {name: coded or None}

    return read


def _mark(column: Column, place: Place, table: Table) -> At:
    def read(cell: Cell, _row: Row, _: Report) -> Fields | None:
        # What is not in the table speaks of something else: no flags.
        deletes = False
        for value in _every(cell, place):
            if value is DELETE:
                deletes = True
            elif value is None:
                continue
            elif value.strip().upper() in table:
                return {column.name: table[value.strip().upper()] or None}
        return {column.name: None} if deletes else None

    return read


def _every(cell: Cell, place: Place) -> Iterable[Value]:
    """Read all repetitions of a cell's field."""
    if isinstance(cell, Odd):
        return repeated(cell.segment, place, MOST_VALUES)
    return (text_of(cell, place),)


def _code(column: Column, place: Place, _: Table) -> At:
    name, (scheme_name, meaning_name, items_name) = column.name, column.also
    # A code, its text and its scheme stand beside each other.
    text_place, scheme_place = _further(place, 1), _further(place, 2)

    def read(cell: Cell, _: Row, report: Report) -> Fields | None:
        value = leaf_of(cell, place)
        if value is None or (isinstance(value, str) and value.isspace()):
            return None
        found: Fields = {name: None, scheme_name: None, meaning_name: None, items_name: None}
        if not isinstance(value, str):
            return found
        code = value.strip()
        if len(code) > column.length or not code.isprintable() or "\\" in code:
            # A code is an identifier too; what it means, the description says to people.
            report.flag(f"{place.where}: a code that (0008,0100) can't hold: not given to scanners")
            return found
        found[name] = code
        found[scheme_name] = _beside(cell, scheme_place, 16, report) or LOCAL_SCHEME
        # PS3.3 8.8: (0008,0104) is required.
        found[meaning_name] = _beside(cell, text_place, 64, report) or code
        items = _code_items(cell, place, report) if _says_more(cell) else []
        if len(items) > 1 or (items and "CodingSchemeVersion" in items[0]):
            found[items_name] = kept.written(items)
        return found

    return read


def _says_more(cell: Cell) -> bool:
    """Tell whether there may be a version of a scheme (CWE.7, CWE.8), or another repetition."""
    return isinstance(cell, Odd) or cell.count("^") > _TRIPLETS


def _code_items(cell: Cell, place: Place, report: Report) -> list[kept.Item]:
    places = [place]
    if isinstance(cell, Odd) and place.path.repetition == 1:
        count = min(cell.segment.count(place.path.field), MOST_VALUES)
        places = [at_repetition(place, number) for number in range(1, count + 1)]
    return [item for each in places if (item := code_item(cell, each, report))]


def at_repetition(place: Place, number: int) -> Place:
    """Give the same place in another repetition of its field."""
    return place._replace(path=replace(place.path, repetition=number))


def code_item(cell: Cell, place: Place, report: Report) -> kept.Item | None:
    """Read a code with its scheme, what it means, and the scheme's version."""
    value = text_of(cell, place)
    code = value.strip() if isinstance(value, str) else ""
    if not code:
        return None
    if len(code) > _CODE or not code.isprintable() or "\\" in code:
        report.flag(f"{place.where}: a code that (0008,0100) can't hold: not given to scanners")
        return None
    scheme = _beside(cell, _further(place, 2), _CODE, report) or LOCAL_SCHEME
    meaning = _beside(cell, _further(place, 1), 64, report) or code
    steps = _VERSIONS.get(place.component)
    version = _beside(cell, _further(place, steps), _CODE, report) if steps else ""
    return kept.code(code, scheme, meaning, version)


def _further(place: Place, steps: int) -> Place:
    component = place.component + steps
    where = str(replace(place.path, component=component, subcomponent=0))
    return place._replace(at=place.at + steps, component=component, where=where)


def _beside(cell: Cell, place: Place, length: int, report: Report) -> str:
    value = text_of(cell, place)
    return values.line(value, length, place.where, report) if isinstance(value, str) else ""


def _entity(column: Column, place: Place, _: Table) -> At:
    name, length, (issuer_name,) = column.name, column.length, column.also
    read_entity = extended if column.kind is Kind.PATIENT_ENTITY else entity
    at_first, mapped = place.at == 0, column.mapped

    def read(cell: Cell, row: Row, report: Report) -> Fields | None:
        if at_first and isinstance(cell, str) and cell.isalnum() and len(cell) <= length:
            return {name: cell, issuer_name: None}
        value = leaf_of(cell, place)
        if not isinstance(value, str):
            return None if value is None else {name: None, issuer_name: None}
        if value.isspace():
            return None
        identifier = read_entity((value, place, cell), length, row, report, mapped=mapped)
        if identifier is None:
            return {}
        return {name: identifier.id, issuer_name: issuer_text(identifier) or None}

    return read


_MAKERS: dict[Kind, Callable[[Column, Place, Table], At]] = {
    Kind.TEXT: _text,
    Kind.WORD: _word,
    Kind.NAME: _name,
    Kind.PERSON: _person,
    Kind.PERSONS: _persons,
    Kind.IDENTITIES: _identities,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.CODED: _coded,
    Kind.MARK: _mark,
    Kind.ENTITY: _entity,
    Kind.PATIENT_ENTITY: _entity,
    Kind.CODE: _code,
}
