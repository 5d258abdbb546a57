"""Read the patient's weight and size from OBX segments, converted, never guessed."""

from decimal import Decimal, InvalidOperation

from hl7.er7 import DELETE, Segment
from hl7.mapping.grid import View
from hl7.mapping.report import Report
from hl7.profile import Profile
from hl7.profile_tables import ObservationTable
from mwl.orders import Fields

_MOST = 1_000
_LONGEST = 16  # PS3.5 6.2: DS


class ObservationReader:
    """A profile's way to read OBX."""

    def __init__(self, profile: Profile) -> None:
        self._tables: dict[str, ObservationTable] = dict(profile.observations.items())
        self._by_code: dict[str, str] = {}
        self._by_text: dict[str, str] = {}
        for name, table in profile.observations.items():
            self._by_code.update(dict.fromkeys(table.codes, name))
            self._by_text.update(dict.fromkeys((text.lower() for text in table.texts), name))

    def read(self, view: View, report: Report, fields: Fields) -> None:
        """Write what the view's OBX segments state; of several, the last."""
        for segment in view.get("OBX", ())[:_MOST]:
            column = self._column(segment)
            if column is None:
                continue
            value = segment.get(5)
            if value is DELETE:
                fields[column] = None
            elif value is not None:
                converted = _convert(segment, value, self._tables[column], report)
                if converted:
                    fields[column] = converted

    def _column(self, segment: Segment) -> str | None:
        for component in (1, 4):
            code = segment.get(3, 1, component)
            if isinstance(code, str) and code in self._by_code:
                return self._by_code[code]
        text = segment.get(3, 1, 2)
        return self._by_text.get(text.strip().lower()) if isinstance(text, str) else None


def _convert(segment: Segment, value: str, table: ObservationTable, report: Report) -> str:
    unit = segment.get(6)
    factor = table.units.get(unit.strip()) if isinstance(unit, str) else None
    if factor is None:
        report.flag("OBX-6: an unknown unit, or none: not taken")
        return ""
    try:
        number = Decimal(value.strip()[: _LONGEST + 1])
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 < number < 100_000 or len(value.strip()) > _LONGEST:
        report.flag("OBX-5: no number that can be one: not taken")
        return ""
    # Four decimals are a tenth of a millimetre, or of a gram.
    return format((number * factor).quantize(Decimal("0.0001")).normalize(), "f")
