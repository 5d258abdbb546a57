"""Read who the patient is: the identifier that counts, the others, the demographics."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hl7 import columns
from hl7.mapping.grid import Cell, Grid, Place, Row, leaf_of
from hl7.mapping.readers import Readers, extended
from hl7.mapping.report import Report
from hl7.profile import Profile
from mwl.errors import Fault, Reason
from mwl.patients import Identifier, PatientChange

_LENGTH = 64  # (0010,0020) is an LO
_MOST_IDENTIFIERS = 64
_LONGEST_TYPE = 16


class _Candidate(NamedTuple):
    """One repetition of CX; what is at fault matters only if it is the one that counts."""

    id: Identifier
    type: str
    faults: Sequence[Fault] = ()


class PatientReader:
    """A profile's way to read PID and what belongs to it."""

    def __init__(self, profile: Profile, grid: Grid) -> None:
        table = profile.patient_identifier
        self._from = _identifiers(grid.places(table.sources))
        self._others = _identifiers(grid.places(table.others))
        self._prior = _identifiers([grid.place(table.prior)])
        self._where = str(self._from[0].path)
        self._authorities = {name: rank for rank, name in enumerate(table.authorities)}
        self._types = {name: rank for rank, name in enumerate(table.types)}
        self._never = frozenset(name for name in table.never if not name.endswith("*"))
        self._never_like = tuple(name[:-1] for name in table.never if name.endswith("*"))
        self._default = table.default_issuer
        self._columns = Readers(grid, profile, columns.PATIENT, profile.patient.columns)

    def read(self, row: Row, report: Report) -> PatientChange:
        """Read the patient of a message; its faults are in `report`."""
        found = self._first(row, self._from, report)
        chosen = self._choose(found, report, self._where)
        fields: dict[str, str | None] = {}
        self._columns.read(row, report, fields)
        others: dict[Identifier, str] = {}
        for each in [*found, *self._all(row, self._others, report)]:
            if each.faults:
                where = each.faults[0].where.partition(".")[0]
                report.flag(f"{where}: an identifier that can't be kept: not taken")
            elif each.id != chosen:
                others.setdefault(each.id, each.type)
        return PatientChange(chosen, self._where, tuple(others.items()) or None, fields)

    def read_prior(self, row: Row, survivor: Identifier, report: Report) -> Identifier:
        """Read MRG-1: the identifier of the survivor's issuer, else by the usual choice."""
        found = self._first(row, self._prior, report)
        same = [each for each in found if each.id.issuer_key == survivor.issuer_key]
        return self._choose(same or found, report, str(self._prior[0].path))

    def _first(self, row: Row, chain: Sequence[Place], report: Report) -> list[_Candidate]:
        """Read the first place that has identifiers."""
        for place in chain:
            cell = row[1][place.slot]
            if cell is not None and (found := self._repetitions(cell, place, report)):
                return found
        for place in chain:  # an empty repetition may stand before the others
            for segment in row[0].get(place.path.segment, ()):
                cell = (), segment, False
                if segment.count(place.path.field) > 1 and (
                    found := self._repetitions(cell, place, report)
                ):
                    return found
        return []

    def _all(self, row: Row, chain: Sequence[Place], report: Report) -> list[_Candidate]:
        """Read further identifiers."""
        found: list[_Candidate] = []
        for place in chain:
            cell = row[1][place.slot]
            if cell is not None:
                found += self._repetitions(cell, place, report)
        return found

    def _repetitions(self, cell: Cell, place: Place, report: Report) -> list[_Candidate]:
        _, segment, _ = cell
        delimiters, raw = segment.delimiters, segment.fields[place.path.field]
        if delimiters.repetition not in raw:
            candidate = self._candidate(cell, place, report)
            return [candidate] if candidate else []
        found = []
        texts = raw.split(delimiters.repetition, _MOST_IDENTIFIERS)[:_MOST_IDENTIFIERS]
        for number, text in enumerate(texts, 1):
            each = (text.split(delimiters.component), segment, False)
            at = place._replace(path=replace(place.path, repetition=number))
            if candidate := self._candidate(each, at, report):
                found.append(candidate)
        return found

    def _candidate(self, cell: Cell, place: Place, report: Report) -> _Candidate | None:
        value = leaf_of(cell, place)
        if not isinstance(value, str):
            return None
        before = len(report.faults)
        identifier = extended((value, place, cell), _LENGTH, report)
        faults = report.faults[before:]
        parts = cell[0]
        if faults:
            del report.faults[before:]
            namespace = parts[3] if len(parts) > 3 else ""
            identifier = Identifier("", namespace.split(cell[1].delimiters.subcomponent)[0])
        if identifier is None:
            return None
        if not identifier.issuer_key and self._default.issuer_key:
            issuer = self._default
            identifier = Identifier(
                identifier.id, issuer.namespace, issuer.universal_id, issuer.universal_type
            )
        kind = parts[4].strip().upper()[:_LONGEST_TYPE] if len(parts) > 4 else ""
        return _Candidate(identifier, kind, faults)

    def _choose(self, found: list[_Candidate], report: Report, where: str) -> Identifier:
        usable = [each for each in found if self._may(each.type)]
        if usable:
            chosen = usable[0] if len(usable) == 1 else min(usable, key=self._rank)
            for fault in chosen.faults:
                report.fault(fault.reason, fault.where, fault.text, fault.occurrence)
            return chosen.id
        if not any(fault.where.startswith(where) for fault in report.faults):
            text = "only identifiers of types that are not used" if found else "no identifier"
            report.fault(Reason.MISSING, where, f"{text} of the patient")
        return Identifier("")

    def _may(self, kind: str) -> bool:
        if not kind or kind in self._types:
            return True
        return kind not in self._never and not kind.startswith(self._never_like)

    def _rank(self, candidate: _Candidate) -> tuple[int, int]:
        last = len(self._authorities)
        issuer = candidate.id
        authority = min(
            self._authorities.get(issuer.namespace, last),
            self._authorities.get(issuer.universal_id, last),
        )
        # The configured types, then no type at all, then any other.
        other = len(self._types) + (1 if candidate.type else 0)
        return authority, self._types.get(candidate.type, other)


def _identifiers(places: Sequence[Place]) -> Sequence[Place]:
    """Name the identifier itself in faults: CX-1."""
    return [place._replace(where=f"{place.where}.1") for place in places]
