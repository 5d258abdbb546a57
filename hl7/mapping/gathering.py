"""Columns that take a field of every segment of a name: texts side by side, notes as lines."""

from collections.abc import Callable, Mapping, Sequence

from hl7.columns import Column, Kind
from hl7.er7 import DELETE, Segment, Value
from hl7.mapping import values
from hl7.mapping.grid import Odd, Place, Row, part
from hl7.mapping.kinds import at_repetition, code_item, repeated
from hl7.mapping.report import Report
from hl7.mapping.values import LOCAL_SCHEME, MOST_VALUES
from mwl.orders import Fields
from mwl.worklist import kept

Gatherer = Callable[[Row, Report, Fields], None]

_MOST_NOTES = 200


def _texts(column: Column, chain: Sequence[Place]) -> Gatherer:
    name, length, slot = column.name, column.length, chain[0].slot if chain else 0
    # Each segment, and the cells that tell whether its first occurrence says something.
    segments: dict[str, int] = {}
    for place in chain:
        segments[place.path.segment] = segments.get(place.path.segment, 0) | 1 << place.slot

    def of(segment: Segment) -> list[Value]:
        for place in chain:
            if place.path.segment == segment.name:
                found = list(repeated(segment, place, MOST_VALUES))
                if found:
                    return found
        return []

    def read(row: Row, report: Report, fields: Fields) -> None:
        for segment_name, cells in segments.items():
            given = row[0].get(segment_name, ())
            if len(given) < 2 and not row[2] & cells:
                continue
            if len(given) == 1 and len(chain) == 1 and isinstance(cell := row[1][slot], str):
                value = part(cell, chain[0].at)
                text = values.line(value, length, chain[0].where, report) if value else ""
                if text:
                    fields[name] = text
                return
            found = [value for segment in given for value in of(segment)]
            if not found:
                continue
            where = chain[0].where
            texts = [values.line(v, length, where, report) for v in found if isinstance(v, str)]
            texts = [text for text in texts if text]
            if not texts and DELETE not in found:
                continue
            if len(texts) > MOST_VALUES:
                report.flag(f"{where}: only the first {MOST_VALUES} values taken")
            # PS3.5 6.4: the backslash separates the values of an attribute.
            fields[name] = "\\".join(texts[:MOST_VALUES]) or None
            return

    return read


def _codes(column: Column, chain: Sequence[Place]) -> Gatherer:
    name = column.name

    def of(segment: Segment, place: Place, report: Report) -> list[kept.Item]:
        count = min(segment.count(place.path.field), MOST_VALUES)
        cell = Odd([], segment)
        places = (at_repetition(place, number) for number in range(1, count + 1))
        return [item for each in places if (item := code_item(cell, each, report))]

    def read(row: Row, report: Report, fields: Fields) -> None:
        for place in chain:
            segments = row[0].get(place.path.segment, ())
            if len(segments) < 2 and not row[2] >> place.slot & 1:
                continue
            items = [item for each in segments for item in of(each, place, report)]
            if len(items) > MOST_VALUES:
                report.flag(f"{place.where}: only the first {MOST_VALUES} codes taken")
            if items:
                fields[name] = kept.written(items[:MOST_VALUES])
                return
            if any(each.get(place.path.field) is DELETE for each in segments):
                fields[name] = None
                return

    return read


def plain_code(triplet: str) -> str:
    """Write the only code of a field that has nothing to be mended, as `_codes` would."""
    value, _, rest = triplet.partition("^")
    meaning, _, scheme = rest.partition("^")
    # Nothing in it is to be escaped, so that this is JSON: `kept.written` takes longer.
    return (
        f'[{{"CodeValue":"{value}","CodingSchemeDesignator":"{scheme or LOCAL_SCHEME}",'
        f'"CodeMeaning":"{meaning or value}"}}]'
    )


def _notes(column: Column, chain: Sequence[Place]) -> Gatherer:
    name, length = column.name, column.length

    def read(row: Row, report: Report, fields: Fields) -> None:
        for place in chain:
            segments = row[0].get(place.path.segment)
            if segments is None:
                continue
            found = [v for each in segments for v in repeated(each, place, _MOST_NOTES)]
            texts = [value for value in found[:_MOST_NOTES] if isinstance(value, str)]
            if texts and (text := values.lines(texts, length, place.where, report)):
                fields[name] = text
                return
            if DELETE in found:
                fields[name] = None
                return

    return read


GATHERERS: Mapping[Kind, Callable[[Column, Sequence[Place]], Gatherer]] = {
    Kind.TEXTS: _texts,
    Kind.NOTES: _notes,
    Kind.CODES: _codes,
}
