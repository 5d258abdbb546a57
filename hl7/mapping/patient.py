"""Read who the patient is: the identifier that counts, the others, the demographics."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hl7 import columns
from hl7.mapping.grid import Cell, Grid, Place, Row, leaf_of
from hl7.mapping.readers import Readers, extended
from hl7.mapping.report import Report
from hl7.profile import Profile
from mwl.errors import Reason
from mwl.patients import Identifier, PatientChange

_LENGTH = 64  # (0010,0020) is an LO
_MOST_IDENTIFIERS = 64
_LONGEST_TYPE = 16


class _Candidate(NamedTuple):
    """One repetition of CX."""

    id: Identifier
    type: str


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
            if each.id != chosen:
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
        return []

    def _all(self, row: Row, chain: Sequence[Place], report: Report) -> list[_Candidate]:
        """Read further identifiers; one that can't be kept is no reason to reject."""
        found: list[_Candidate] = []
        for place in chain:
            cell = row[1][place.slot]
            if cell is not None:
                lenient = Report()
                found += self._repetitions(cell, place, lenient)
                if lenient.faults:
                    report.flag(f"{place.path}: an identifier that can't be kept: not taken")
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
        identifier = extended((value, place, cell), _LENGTH, report)
        if identifier is None:
            return None
        if not identifier.issuer_key and self._default.issuer_key:
            issuer = self._default
            identifier = Identifier(
                identifier.id, issuer.namespace, issuer.universal_id, issuer.universal_type
            )
        parts = cell[0]
        kind = parts[4].strip().upper()[:_LONGEST_TYPE] if len(parts) > 4 else ""
        return _Candidate(identifier, kind)

    def _choose(self, found: list[_Candidate], report: Report, where: str) -> Identifier:
        usable = [each for each in found if self._may(each.type)]
        if len(usable) == 1:
            return usable[0].id
        if usable:
            return min(usable, key=self._rank).id
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
