"""Read who the patient is: the identifier that counts, the others, the demographics."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hl7 import columns
from hl7.mapping import patterns
from hl7.mapping.grid import Cell, Grid, Odd, Place, Row, leaf_of, parts_of
from hl7.mapping.identifiers import extended
from hl7.mapping.readers import Readers
from hl7.mapping.report import Report
from hl7.profile import Profile
from mwl.errors import Fault, Reason
from mwl.patients import Identifier, PatientChange

_LENGTH = 64  # (0010,0020) is an LO
_MOST_IDENTIFIERS = 64
_LONGEST_TYPE = 16
_PLAIN_CX = 5  # components of CX up to its type


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
        self._other_slots = [place.slot for place in self._others]
        self._is_whole = not self._from[0].path.component
        self._prior = _identifiers([grid.place(table.prior)])
        self.where = str(self._from[0].path)
        self._authorities = {name: rank for rank, name in enumerate(table.authorities)}
        self._types = {name: rank for rank, name in enumerate(table.types)}
        self._never = frozenset(name for name in table.never if not name.endswith("*"))
        self._never_like = tuple(name[:-1] for name in table.never if name.endswith("*"))
        self._default = table.default_issuer
        # By either name of an issuer that has two.
        self._issuers = {name: each for each in table.issuers for name in each.authority}
        self._mapped = profile.lengths.maps("patient_id")
        self.unknown_names = table.unknown_names
        self.columns = Readers(grid, profile, columns.PATIENT, profile.patient.columns)

    def read(self, row: Row, report: Report) -> PatientChange:
        """Read the patient of a message; its faults are in `report`."""
        fields: dict[str, str | None] = {}
        if (simply := self._simple(row)) is not None:
            self.columns.read(row, report, fields)
            return PatientChange(simply, self.where, None, fields, self.unknown_names)
        found = self._first(row, self._from, report)
        chosen = self._choose(found, report, self.where)
        self.columns.read(row, report, fields)
        further = self._all(row, self._others, report)
        if len(found) == 1 and not further:
            return PatientChange(chosen, self.where, None, fields, self.unknown_names)
        others: dict[Identifier, str] = {}
        for each in [*found, *further]:
            if each.faults:
                where = each.faults[0].where.partition(".")[0]
                report.flag(f"{where}: an identifier that can't be kept: not taken")
            elif each.id is not chosen and each.id != chosen:
                others.setdefault(each.id, each.type)
        known_as = tuple(others.items()) or None
        return PatientChange(chosen, self.where, known_as, fields, self.unknown_names)

    def _simple(self, row: Row) -> Identifier | None:
        """Read the one identifier of a patient who has no other: most have one of a known type."""
        cells = row[1]
        cell = cells[self._from[0].slot]
        if not isinstance(cell, str) or not self._is_whole or self._issuers:
            return None
        for slot in self._other_slots:
            if cells[slot]:
                return None
        parts = cell.split("^")
        if len(parts) != _PLAIN_CX or parts[4] not in self._types:
            return None
        number, namespace = parts[0], parts[3]
        if not (number.isalnum() and namespace.isalnum()) or len(number) > _LENGTH:
            return None
        return Identifier(number, namespace) if len(namespace) <= _LENGTH else None

    def usual(self, shape: int) -> tuple[int, str] | None:
        """Give the cell and the pattern of the one identifier of a patient who has no other.

        None: in messages of that shape there may be others, or an issuer may have two names.
        """
        given = [place.slot for place in self._others if shape >> place.slot & 1]
        if given or not self._is_whole or self._issuers or not self._types:
            return None
        types = "|".join(map(re.escape, self._types))
        return self._from[0].slot, patterns.extended(_LENGTH, types)

    def read_prior(self, row: Row, survivor: Identifier, report: Report) -> Identifier:
        """Read MRG-1: the identifier of the survivor's issuer, else by the usual choice."""
        found = self._first(row, self._prior, report)
        same = [each for each in found if each.id.issuer_key == survivor.issuer_key]
        return self._choose(same or found, report, str(self._prior[0].path))

    def _first(self, row: Row, chain: Sequence[Place], report: Report) -> list[_Candidate]:
        """Read the first place that has identifiers."""
        for place in chain:
            cell = row[1][place.slot]
            if cell and (found := self._repetitions(cell, place, row, report)):
                return found
        for place in chain:  # an empty repetition may stand before the others
            for segment in row[0].get(place.path.segment, ()):
                if segment.count(place.path.field) > 1 and (
                    found := self._repetitions(Odd((), segment), place, row, report)
                ):
                    return found
        return []

    def _all(self, row: Row, chain: Sequence[Place], report: Report) -> list[_Candidate]:
        """Read further identifiers."""
        found: list[_Candidate] = []
        for place in chain:
            cell = row[1][place.slot]
            if cell:
                found += self._repetitions(cell, place, row, report)
        return found

    def _repetitions(self, cell: Cell, place: Place, row: Row, report: Report) -> list[_Candidate]:
        if isinstance(cell, str) or cell.segment.count(place.path.field) == 1:
            candidate = self._candidate(cell, place, row, report)
            return [candidate] if candidate else []
        segment = cell.segment
        delimiters, raw = segment.delimiters, segment.fields[place.path.field]
        found = []
        texts = raw.split(delimiters.repetition, _MOST_IDENTIFIERS)[:_MOST_IDENTIFIERS]
        for number, text in enumerate(texts, 1):
            each = Odd(text.split(delimiters.component), segment)
            at = place._replace(path=replace(place.path, repetition=number))
            if candidate := self._candidate(each, at, row, report):
                found.append(candidate)
        return found

    def _candidate(self, cell: Cell, place: Place, row: Row, report: Report) -> _Candidate | None:
        value = leaf_of(cell, place)
        if not isinstance(value, str):
            return None
        before = len(report.faults)
        identifier = extended((value, place, cell), _LENGTH, row, report, mapped=self._mapped)
        faults = report.faults[before:]
        parts = parts_of(cell)
        if faults:
            del report.faults[before:]
            namespace = parts[3] if len(parts) > 3 else ""
            if isinstance(cell, Odd):
                namespace = namespace.split(cell.segment.delimiters.subcomponent)[0]
            identifier = Identifier("", namespace)
        if identifier is None:
            return None
        issuer = self._default
        if issuer.issuer_key and not identifier.issuer_key:
            identifier = Identifier(
                identifier.id, issuer.namespace, issuer.universal_id, issuer.universal_type
            )
        if self._issuers:
            identifier = self._by_its_issuer(identifier)
        kind = parts[4].strip().upper()[:_LONGEST_TYPE] if len(parts) > 4 else ""
        return _Candidate(identifier, kind, faults)

    def _by_its_issuer(self, identifier: Identifier) -> Identifier:
        """Name an issuer as the profile does, whichever of its names was given."""
        names = (identifier.namespace, identifier.universal_id)
        known = next((self._issuers[name] for name in names if name in self._issuers), None)
        return identifier if known is None else known._replace(id=identifier.id)

    def _choose(self, found: list[_Candidate], report: Report, where: str) -> Identifier:
        if len(found) == 1 and found[0].type in self._types and not found[0].faults:
            return found[0].id
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
