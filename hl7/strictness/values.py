"""Segments, field by field: required, repeated, of which type, in which table, how long.

A value of `""` deletes what is known, so it is of any type. What the standard withdrew is not
looked at: receivers ignore it.
"""

from collections.abc import Sequence

from hl7.er7 import Segment
from hl7.escapes import UNDECLARED, unescape
from hl7.mapping.report import MOST_FAULTS, Report
from hl7.strictness.reference import READS, Part, Version, is_readable
from mwl.errors import Reason

_MOST_REPETITIONS = 1_000
_DELETE = '""'
# Longer texts are not unescaped to count their characters.
_LONGEST_COUNTED = 200_000


def check(segment: Segment, version: Version, report: Report) -> None:
    """Check one segment; one that the version doesn't know has no rules."""
    rules = version.segment(segment.name)
    if rules is None:
        return
    _Checker(segment, version, report).all(rules)


class _Checker:
    """One segment."""

    def __init__(self, segment: Segment, version: Version, report: Report) -> None:
        self._segment = segment
        self._version = version
        self._report = report
        self._delimiters = segment.delimiters

    def all(self, rules: Sequence[Part]) -> None:
        segment = self._segment
        first = 3 if segment.name == "MSH" else 1  # MSH-1 and MSH-2 are the delimiters
        for number, rule in enumerate(rules, 1):
            if len(self._report.faults) >= MOST_FAULTS:
                return
            if number < first:
                continue
            text = segment.fields[number] if number < len(segment.fields) else ""
            if text:
                self._field(number, text, rule)
            elif rule.required:
                self._fault(Reason.MISSING, f"{number}", "required, and empty")
        if rules:
            self._beyond(len(rules))

    def _beyond(self, last: int) -> None:
        for number, text in enumerate(self._segment.fields[last + 1 :], last + 1):
            if text.strip(self._delimiters.repetition + self._delimiters.component):
                what = f"{self._segment.name} has {last} fields in version {self._version.name}"
                self._fault(Reason.MALFORMED, f"{number}", what)
                return

    def _field(self, number: int, text: str, rule: Part) -> None:
        if rule.most == 0 or text == _DELETE:
            return
        is_result = self._segment.name == "OBX" and number == 5
        if is_result:
            rule = self._result(rule)
        mark = self._delimiters.repetition
        repetitions = text.split(mark, _MOST_REPETITIONS) if mark in text else [text]
        if 0 < rule.most < len(repetitions):
            where = f"{number}({rule.most + 1})"
            times = "does not repeat" if rule.most == 1 else f"at most {rule.most} times"
            self._fault(Reason.MALFORMED, where, times)
        for n, repetition in enumerate(repetitions, 1):
            if len(self._report.faults) >= MOST_FAULTS:
                return
            if repetition:
                place = f"{number}" if n == 1 else f"{number}({n})"
                self._value(place, repetition, rule, (self._delimiters.component, is_result))

    def _result(self, rule: Part) -> Part:
        """Choose the type of OBX-5 by OBX-2."""
        type_ = self._segment.get(2)
        if not isinstance(type_, str) or rule.type:
            return rule
        if not self._version.has_type(type_):
            what = f"no data type of version {self._version.name}"
            self._fault(Reason.UNKNOWN_CODE, "2", what)
            return rule
        # Texts of results are as long as they are.
        is_text = type_ in {"TX", "FT", "ST"}
        return rule._replace(type="" if is_text or type_ in {"CM", "WD"} else type_)

    def _value(self, place: str, text: str, rule: Part, below: tuple[str, bool]) -> None:
        """Check a field's repetition or a component; `below` divides it, and its text is free."""
        if not rule.type or text == _DELETE:
            return
        separator, _ = below
        parts = self._version.components(rule.type)
        if parts is None:
            marks = {separator, self._delimiters.subcomponent} - {UNDECLARED}
            if any(mark in text for mark in marks):
                self._fault(Reason.MALFORMED, place, f"one value of type {rule.type}, not parts")
            else:
                self._leaf(place, text, rule)
            return
        found = text.split(separator, len(parts)) if separator != UNDECLARED else [text]
        for number, part in enumerate(parts, 1):
            value = found[number - 1] if number <= len(found) else ""
            where = f"{place}.{number}"
            if value:
                self._component(where, value, part, separator)
            elif part.required:
                self._fault(Reason.MISSING, where, f"required of {rule.type}, and empty")
        if len(found) > len(parts) and found[-1].strip(separator):
            where = f"{place}.{len(parts) + 1}"
            self._fault(Reason.MALFORMED, where, f"{rule.type} has {len(parts)} parts")

    def _component(self, where: str, value: str, part: Part, separator: str) -> None:
        if part.most == 0:
            return
        if separator == self._delimiters.component:
            self._value(where, value, part, (self._delimiters.subcomponent, False))
        elif part.type and self._version.components(part.type) is None:
            self._leaf(where, value, part)  # nothing is below a subcomponent

    def _leaf(self, place: str, text: str, rule: Part) -> None:
        if text == _DELETE:
            return
        delimiters, longest = self._delimiters, self._version.longest(rule.type)
        if longest is not None and len(text) > _LONGEST_COUNTED:
            self._fault(Reason.TOO_LONG, place, f"more than {longest} characters")
            return
        if delimiters.escape in text:
            text = unescape(text, delimiters, self._segment.encoding)
        if rule.type in READS:
            if not is_readable(rule.type, text):
                self._fault(Reason.MALFORMED, place, READS[rule.type][1])
        elif longest is not None and len(text) > longest:
            self._fault(Reason.TOO_LONG, place, f"more than {longest} characters")
        elif rule.table and (known := self._version.table(rule.table)) and text not in known:
            number = rule.table.removeprefix("HL7")
            self._fault(Reason.UNKNOWN_CODE, place, f"not in table {number}")

    def _fault(self, reason: Reason, place: str, text: str) -> None:
        where = f"{self._segment.name}-{place}"
        self._report.fault(reason, where, text, self._segment.occurrence)
