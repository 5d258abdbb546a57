"""Read an OBR, or one of its IPC segments, as a procedure and a step of it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from hl7 import columns
from hl7.attributes import Target
from hl7.chains import Chain
from hl7.er7 import Segment, Value
from hl7.mapping import values
from hl7.mapping.grid import Cell, Grid, Odd, Place, Row, leaf, leaf_of, occurrence, word
from hl7.mapping.readers import Readers
from hl7.mapping.report import Report
from hl7.mapping.rules import NOTHING, Asked, Rules
from hl7.mapping.times import NotATime, read_instant
from hl7.profile import Profile
from hl7.profile_tables import IpcProcedureTable, StepTable
from mwl.errors import Reason
from mwl.orders import Fields, ProcedureChange, StepChange

ID_LENGTH = 16  # (0040,1001) and (0040,0009) are SH
KEY_LENGTH = 199  # characters of a code that tells procedures apart
_MOST_STATIONS = 64


class Step(NamedTuple):
    """One step as a message states it, with the procedure it belongs to."""

    procedure: ProcedureChange
    change: StepChange
    where: str  # the field that names the step, and the occurrence of its segment
    occurrence: int


class Chains:
    """Everything read of a step: without IPC, or with it and falling back to that."""

    def __init__(
        self, profile: Profile, grid: Grid, kept: Sequence[Target], *, with_ipc: bool
    ) -> None:
        tables: list[tuple[IpcProcedureTable, StepTable]] = [(profile.procedure, profile.step)]
        if with_ipc:
            tables.insert(0, (profile.with_ipc.procedure, profile.with_ipc.step))
        procedures, steps = zip(*tables, strict=True)
        self.snapshot = with_ipc
        self.procedure_id = grid.places(_joined(t.requested_procedure_id for t in procedures))
        self.code = grid.places(_joined(t.code for t in procedures))
        self.study_uid = grid.places(_joined(t.study_uid for t in procedures))
        self.sps_id = grid.places(_joined(t.sps_id for t in steps))
        self.modality = grid.places(_joined(t.modality for t in steps))
        self.start = grid.places(_joined(t.start for t in steps))
        self.stations = grid.places(_joined(t.stations for t in steps))
        self.procedure = Readers(
            grid, profile, columns.PROCEDURE, _merged(columns.PROCEDURE, procedures)
        )
        self.step = Readers(grid, profile, columns.STEP, _merged(columns.STEP, steps))
        self.kept: Readers | None = None
        if kept:
            chains = {each.key: each.chain for each in kept}
            known = {each.key: _column(each) for each in kept}
            self.kept = Readers(grid, profile, known, chains)
        self.rules = Rules(profile, grid) if profile.rules else None
        self.maps_procedures = profile.lengths.maps("requested_procedure_id")
        self.maps_steps = profile.lengths.maps("sps_id")


def _column(kept: Target) -> columns.Column:
    segments = [place.segment for link in kept.chain for place in link]
    return columns.kept(kept.key, kept.vr, kept.length, segments)


def _joined(chains: Iterable[Chain]) -> Chain:
    return tuple(alternative for chain in chains for alternative in chain)


def _merged(
    known: Iterable[str], tables: Sequence[IpcProcedureTable] | Sequence[StepTable]
) -> dict[str, Chain]:
    return {name: _joined(t.columns.get(name, ()) for t in tables) for name in known}


class StepReader:
    """A profile's way to read OBR and IPC."""

    def __init__(self, profile: Profile, grid: Grid) -> None:
        kept = profile.attributes.targets()
        self.plain = Chains(profile, grid, kept, with_ipc=False)
        self._ipc_grid = Grid()
        self._with_ipc = Chains(profile, self._ipc_grid, kept, with_ipc=True)
        self._modalities = profile.modalities.all()

    def read(self, row: Row, zone: tzinfo, report: Report, *, whole: bool) -> list[Step]:
        """Read the steps of one OBR; if not `whole`, only what they are known by."""
        view = row[0]
        if "IPC" not in view:
            leader = (view.get("OBR") or view["AIS"])[0]
            return [self._read(row, self.plain, leader, zone if whole else None, report)]
        found = []
        for ipc in view["IPC"]:
            row = self._ipc_grid.lay_out({**view, "IPC": [ipc]})
            found.append(self._read(row, self._with_ipc, ipc, zone if whole else None, report))
        return found

    def timing(self, row: Row, zone: tzinfo, report: Report) -> ProcedureChange | None:
        """Read when, and how urgently, what an ORC without OBR speaks of is to be done.

        That is all of its order, so that nothing else is taken from there; None: it says neither.
        """
        fields: Fields = {}
        self.plain.procedure.read(row, Report(), fields)
        priority = {name: value for name, value in fields.items() if name == "priority"}
        start = _start(row, self.plain.start, zone, report)
        if start is None and not priority:
            return None
        steps = [StepChange(start=start)] if start is not None else []
        return ProcedureChange("", fields=priority, steps=steps)

    def _read(
        self, row: Row, by: Chains, segment: Segment, zone: tzinfo | None, report: Report
    ) -> Step:
        """Read one step; without a zone, only what it is known by."""
        maps = by.maps_procedures
        procedure_id = _identifier(row, by.procedure_id, ID_LENGTH, report, mapped=maps)
        # It names a procedure that has no other name, and is what rules are asked about.
        code = ""
        if not procedure_id or by.rules is not None:
            code = _identifier(row, by.code, KEY_LENGTH, report)
        sps_id = _identifier(row, by.sps_id, ID_LENGTH, report, mapped=by.maps_steps)
        procedure = ProcedureChange(procedure_id or code, procedure_id or None)
        change = StepChange(sps_id or None)
        where = by.sps_id[0].where if by.sps_id else segment.name
        step = Step(procedure, change, where, segment.occurrence)
        if zone is None:
            return step
        procedure.study_uid = _study_uid(row, by.study_uid, report)
        procedure.snapshot = by.snapshot
        change.start = _start(row, by.start, zone, report)
        if by.stations:
            change.stations = read_stations(row, by.stations, report)
        by.procedure.read(row, report, procedure.fields)
        by.step.read(row, report, change.fields)
        if by.kept is not None:
            by.kept.read(row, report, change.attributes)
        self.assign(row, by, step, code, report)
        return step

    def assign(self, row: Row, by: Chains, step: Step, code: str, report: Report) -> None:
        """Decide modality and stations: the message, else a rule."""
        change = step.change
        ruled = outranking = NOTHING
        if by.rules is not None:
            stated = step.procedure.fields
            codes = (code, stated.get("code_value") or "")
            asked = Asked(codes, stated.get("code_scheme") or "", change.stations or (), row[1])
            ruled, outranking = by.rules.find(asked), by.rules.outranking(asked)
            stations = outranking.stations or change.stations or ruled.stations
            change.stations = stations or change.stations
            for name, value in ruled.fields.items():
                if not change.fields.get(name):
                    change.fields[name] = value
            change.fields |= outranking.fields
        if outranking.modality:
            change.fields["modality"] = outranking.modality
            return
        if (simply := self._modalities.get(word(row, by.modality))) is not None:
            change.fields["modality"] = simply
            return
        found = leaf(row, by.modality)
        modality = None
        if found is not None:
            if not isinstance(found[0], str):
                change.fields["modality"] = None
                return
            modality = self._modalities.get(found[0].strip().upper())
        if modality or ruled.modality:
            change.fields["modality"] = modality or ruled.modality
        elif found is not None:
            # Never raw into a CS: scanners would match and show what nobody defined.
            report.flag(f"{found[1].where}: a modality that is not in [modalities]: not taken")


def _identifier(
    row: Row, chain: Sequence[Place], length: int, report: Report, *, mapped: bool = False
) -> str:
    """Read an identifier; what deletes one names none."""
    if (simply := word(row, chain)) and len(simply) <= length:
        return simply
    found = leaf(row, chain)
    if found is None or not isinstance(found[0], str):
        return ""
    value, place, _ = found
    assert isinstance(value, str)
    if value.isalnum() and len(value) <= length:
        return value
    nth = occurrence(row, place)
    return values.identifier(value, length, place.where, report, nth, mapped=mapped) or ""


def _study_uid(row: Row, chain: Sequence[Place], report: Report) -> str | None:
    found = leaf(row, chain)
    if found is None:
        return None
    value, place, _ = found
    if not isinstance(value, str):
        return None
    if values.is_uid(value):
        return value
    return values.uid(value, place.where, report, occurrence(row, place))


def _start(row: Row, chain: Sequence[Place], zone: tzinfo, report: Report) -> datetime | None:
    found = leaf(row, chain)
    if found is None:
        return None
    value, place, _ = found
    if not isinstance(value, str):
        # `""` in one place says nothing against a time in another.
        return _start(row, chain[chain.index(place) + 1 :], zone, report)
    try:
        start, note = read_instant(value.strip(), zone)
    except NotATime as error:
        report.fault(Reason.MALFORMED, place.where, str(error), occurrence(row, place))
        return None
    if note:
        report.flag(f"{place.where}: {note}")
    return start


def read_stations(row: Row, chain: Sequence[Place], report: Report) -> tuple[str, ...] | None:
    """Read every repetition of the first place that names a station; () deletes them."""
    found = leaf(row, chain)
    if found is None:
        return None
    _, place, cell = found
    nth = occurrence(row, place)
    titles: dict[str, None] = {}
    for value in _repeated(cell, place):
        if isinstance(value, str) and (title := values.ae_title(value, place.where, report, nth)):
            titles[title] = None
    return tuple(titles)


def _repeated(cell: Cell, place: Place) -> Iterator[Value]:
    """Read every repetition of a cell's field."""
    if not isinstance(cell, Odd):
        yield leaf_of(cell, place)
        return
    path, segment = place.path, cell.segment
    for repetition in range(1, min(segment.count(path.field), _MOST_STATIONS) + 1):
        yield segment.get(path.field, repetition, place.component, path.subcomponent or 1)
