"""Turn a profile's chains of places into functions that read one column.

A reader gets a row, the fields that the column may look at, and writes what they state
into `fields`: a text, or None for what `""` deletes. What the row says nothing of stays out.
Everything that can be looked up once is looked up when the reader is made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from hl7.columns import Column, Kind
from hl7.er7 import DELETE, Segment, Value
from hl7.mapping import names, values
from hl7.mapping.grid import Cell, Found, Grid, Place, Row, leaf, text_of
from hl7.mapping.report import Report
from hl7.mapping.times import NotATime, read_date
from hl7.profile import ANY, Chain, Profile
from mwl.errors import Reason
from mwl.orders import Fields
from mwl.patients import Identifier
from mwl.worklist.demographics import issuer_text

Reader = Callable[[Row, Report, Fields], None]

# HL7 table 0396 and PS3.16 8.2: a code whose sender names no scheme is a local one.
LOCAL_SCHEME = "L"
_MOST_VALUES = 32
_MOST_SHAPES = 256
_MOST_NOTES = 200
_LONGEST_ISSUER = 64
_LONGEST_UNIVERSAL_ID = 199
_NOBODY = ("", "", "")


class Readers:
    """The readers of a table's columns; those that have nothing to read are not called."""

    def __init__(
        self, grid: Grid, profile: Profile, known: Mapping[str, Column], chains: Mapping[str, Chain]
    ) -> None:
        self._readers: list[tuple[int, Reader]] = []
        self._by_shape: dict[int, list[Reader]] = {}
        for name, chain in chains.items():
            if chain:
                column = known[name]
                table = profile.values.get(column.table, {})
                reader = _reader(grid, column, chain, table)
                self._readers.append((_cells(grid, column, chain), reader))

    def read(self, row: Row, report: Report, fields: Fields) -> None:
        """Write what a row states into `fields`."""
        # One sender's messages have few shapes.
        called = self._by_shape.get(row[2])
        if called is None:
            if len(self._by_shape) >= _MOST_SHAPES:
                self._by_shape.clear()
            called = [reader for cells, reader in self._readers if cells & row[2] or cells == 0]
            self._by_shape[row[2]] = called
        for read in called:
            read(row, report, fields)


def _cells(grid: Grid, column: Column, chain: Chain) -> int:
    """Tell which cells a column reads, as bits; 0 where it looks at segments as well."""
    if column.kind in (Kind.TEXTS, Kind.NOTES):
        return 0
    return sum({1 << place.slot for place in grid.places(chain)})


def _reader(grid: Grid, column: Column, chain: Chain, table: Mapping[str, str]) -> Reader:
    if column.kind is Kind.CODED:
        return _coded(column, grid.places(chain), table)
    if column.kind is Kind.MARK:
        return _mark(column, grid.places(chain), table)
    if column.kind is Kind.TEXT and any(len(alternative) > 1 for alternative in chain):
        return _joined(column, [grid.places((alternative,)) for alternative in chain])
    return _MAKERS[column.kind](column, grid.places(chain))


# ---- texts --------------------------------------------------------------------------------


def _text(column: Column, chain: Sequence[Place]) -> Reader:
    name, length = column.name, column.length

    def read(row: Row, report: Report, fields: Fields) -> None:
        cells = row[1]
        for place in chain:
            cell = cells[place[0]]
            if cell is None:
                continue
            value = text_of(cell, place)
            if value is None:
                continue
            if value is DELETE:
                fields[name] = None
                return
            if text := values.line(value, length, place.where, report):
                fields[name] = text
                return

    return read


def _joined(column: Column, alternatives: Sequence[Sequence[Place]]) -> Reader:
    name, length = column.name, column.length

    def read(row: Row, report: Report, fields: Fields) -> None:
        cells = row[1]
        for alternative in alternatives:
            found = [
                text_of(cell, place)
                for place in alternative
                if (cell := cells[place.slot]) is not None
            ]
            texts = " ".join(value for value in found if isinstance(value, str))
            if texts and (text := values.line(texts, length, alternative[0].where, report)):
                fields[name] = text
                return
            if DELETE in found:
                fields[name] = None
                return

    return read


def _repeated(segment: Segment, place: Place, most: int) -> Iterator[Value]:
    """Read every repetition of a field, whatever the place's own."""
    path = place.path
    for repetition in range(1, min(segment.count(path.field), most) + 1):
        value = segment.whole(path.field, repetition, place.component, path.subcomponent)
        if value is not None:
            yield value


def _texts(column: Column, chain: Sequence[Place]) -> Reader:
    name, length = column.name, column.length
    # Each segment, and the cells that tell whether its first occurrence says something.
    segments: dict[str, int] = {}
    for place in chain:
        segments[place.path.segment] = segments.get(place.path.segment, 0) | 1 << place.slot

    def of(segment: Segment) -> list[Value]:
        for place in chain:
            if place.path.segment == segment.name:
                found = list(_repeated(segment, place, _MOST_VALUES))
                if found:
                    return found
        return []

    def read(row: Row, report: Report, fields: Fields) -> None:
        for segment_name, cells in segments.items():
            given = row[0].get(segment_name, ())
            if len(given) < 2 and not row[2] & cells:
                continue
            found = [value for segment in given for value in of(segment)]
            if not found:
                continue
            where = chain[0].where
            texts = [values.line(v, length, where, report) for v in found if isinstance(v, str)]
            texts = [text for text in texts if text]
            if not texts and DELETE not in found:
                continue
            if len(texts) > _MOST_VALUES:
                report.flag(f"{where}: only the first {_MOST_VALUES} values taken")
            # PS3.5 6.4: the backslash separates the values of an attribute.
            fields[name] = "\\".join(texts[:_MOST_VALUES]) or None
            return

    return read


def _notes(column: Column, chain: Sequence[Place]) -> Reader:
    name, length = column.name, column.length

    def read(row: Row, report: Report, fields: Fields) -> None:
        for place in chain:
            segments = row[0].get(place.path.segment)
            if segments is None:
                continue
            found = [v for each in segments for v in _repeated(each, place, _MOST_NOTES)]
            texts = [value for value in found[:_MOST_NOTES] if isinstance(value, str)]
            if texts and (text := values.lines(texts, length, place.where, report)):
                fields[name] = text
                return
            if DELETE in found:
                fields[name] = None
                return

    return read


# ---- names, dates, codes --------------------------------------------------------------------


def _name(column: Column, chain: Sequence[Place]) -> Reader:
    read_name = names.patient_name if column.kind is Kind.NAME else names.person
    name = column.name

    def read(row: Row, report: Report, fields: Fields) -> None:
        cells = row[1]
        for place in chain:
            cell = cells[place[0]]
            if cell is None:
                continue
            value = read_name(cell, place.path.field, report)
            if value != "":
                fields[name] = value
                return

    return read


def _date(column: Column, chain: Sequence[Place]) -> Reader:
    name = column.name

    def read(row: Row, report: Report, fields: Fields) -> None:
        found = leaf(row, chain)
        if found is None:
            return
        value, place, (_, segment, _) = found
        if not isinstance(value, str):
            fields[name] = None
            return
        try:
            day = read_date(value.strip())
        except NotATime as error:
            report.fault(Reason.MALFORMED, place.where, str(error), segment.occurrence)
            return
        if day is None:
            report.flag(f"{place.where}: no whole date: not taken")
        else:
            fields[name] = day

    return read


def _coded(column: Column, chain: Sequence[Place], table: Mapping[str, str]) -> Reader:
    name, other = column.name, table.get(ANY)

    def read(row: Row, report: Report, fields: Fields) -> None:
        found = leaf(row, chain)
        if found is None:
            return
        value, place, _ = found
        if not isinstance(value, str):
            fields[name] = None
            return
        coded = table.get(value.strip().upper())
        if coded is None:
            report.flag(f"{place.where}: a value that is not in [values.{column.table}]")
            coded = other
        if coded is not None:
            fields[name] = coded or None

    return read


def _mark(column: Column, chain: Sequence[Place], table: Mapping[str, str]) -> Reader:
    def read(row: Row, report: Report, fields: Fields) -> None:
        del report  # what is not in the table speaks of something else
        for place in chain:
            cell = row[1][place.slot]
            if cell is None:
                continue
            for value in _repeated(cell[1], place, _MOST_VALUES):
                if not isinstance(value, str):
                    fields[column.name] = None
                elif value.strip().upper() in table:
                    fields[column.name] = table[value.strip().upper()] or None
                    return

    return read


def _code(column: Column, chain: Sequence[Place]) -> Reader:
    name, (scheme_name, meaning_name) = column.name, column.also
    # A code, its text and its scheme stand beside each other.
    texts = [_further(place, 1) for place in chain]
    schemes = [_further(place, 2) for place in chain]

    def read(row: Row, report: Report, fields: Fields) -> None:
        found = leaf(row, chain)
        if found is None:
            return
        value, place, cell = found
        fields[name] = fields[scheme_name] = fields[meaning_name] = None
        if not isinstance(value, str):
            return
        code = value.strip()
        if len(code) > column.length or not code.isprintable() or "\\" in code:
            # A code is an identifier too; what it means, the description says to people.
            report.flag(f"{place.where}: a code that (0008,0100) can't hold: not given to scanners")
            return
        at = chain.index(place)
        fields[name] = code
        fields[scheme_name] = _beside(cell, schemes[at], 16, report) or LOCAL_SCHEME
        # PS3.3 8.8: (0008,0104) is required.
        fields[meaning_name] = _beside(cell, texts[at], 64, report) or code

    return read


def _further(place: Place, steps: int) -> Place:
    return place._replace(at=place.at + steps, component=place.component + steps)


def _beside(cell: Cell, place: Place, length: int, report: Report) -> str:
    value = text_of(cell, place)
    return values.line(value, length, place.where, report) if isinstance(value, str) else ""


# ---- identifiers ----------------------------------------------------------------------------


def _entity(column: Column, chain: Sequence[Place]) -> Reader:
    name, length, (issuer_name,) = column.name, column.length, column.also
    read_entity = extended if column.kind is Kind.PATIENT_ENTITY else entity

    def read(row: Row, report: Report, fields: Fields) -> None:
        found = leaf(row, chain)
        if found is None:
            return
        if not isinstance(found[0], str):
            fields[name] = fields[issuer_name] = None
            return
        identifier = read_entity(found, length, report)
        if identifier is not None:
            fields[name] = identifier.id
            fields[issuer_name] = issuer_text(identifier) or None

    return read


def entity(found: Found, length: int, report: Report) -> Identifier | None:
    """Read EI: identifier, and its issuer in components 2 to 4.

    A place below the field is an identifier without issuer. None for a blank one, and, with
    a fault, for one that can't be kept.
    """
    value, place, (parts, segment, plain) = found
    assert isinstance(value, str)
    text = values.identifier(value, length, place.where, report, segment.occurrence)
    if not text:
        return None
    if len(parts) == 1 or place.path.component:
        return Identifier(text)
    if plain:
        issuer = [*parts[1:4], *_NOBODY][:3]
    else:
        issuer = [_part(segment, place, component, 1) for component in (2, 3, 4)]
    return Identifier(text, *_checked(issuer, place.where, report, segment.occurrence))


def extended(found: Found, length: int, report: Report) -> Identifier | None:
    """Read CX: identifier, and its issuer in the subcomponents of component 4."""
    value, place, (parts, segment, plain) = found
    assert isinstance(value, str)
    text = values.identifier(value, length, place.where, report, segment.occurrence)
    if not text:
        return None
    if len(parts) < 4 or place.path.component:
        return Identifier(text)
    if plain:
        issuer = [parts[3], "", ""]
    else:
        issuer = [_part(segment, place, 4, subcomponent) for subcomponent in (1, 2, 3)]
    return Identifier(text, *_checked(issuer, place.where, report, segment.occurrence))


def _part(segment: Segment, place: Place, component: int, subcomponent: int) -> str:
    value = segment.get(place.path.field, place.path.repetition, component, subcomponent)
    return value if isinstance(value, str) else ""


def _checked(issuer: Sequence[str], where: str, report: Report, occurrence: int) -> Sequence[str]:
    namespace, universal_id, kind = issuer
    if namespace.isalnum() and not universal_id and len(namespace) <= _LONGEST_ISSUER:
        return issuer
    return (
        values.identifier(namespace, _LONGEST_ISSUER, where, report, occurrence) or "",
        values.identifier(universal_id, _LONGEST_UNIVERSAL_ID, where, report, occurrence) or "",
        values.identifier(kind, _LONGEST_ISSUER, where, report, occurrence) or "",
    )


_MAKERS: dict[Kind, Callable[[Column, Sequence[Place]], Reader]] = {
    Kind.TEXT: _text,
    Kind.TEXTS: _texts,
    Kind.NOTES: _notes,
    Kind.NAME: _name,
    Kind.PERSON: _name,
    Kind.DATE: _date,
    Kind.ENTITY: _entity,
    Kind.PATIENT_ENTITY: _entity,
    Kind.CODE: _code,
}
