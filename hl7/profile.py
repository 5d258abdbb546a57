"""A mapping profile: where values stand in one sender's messages, and what its codes mean.

A profile is a TOML file (`config/hl7/default.toml` explains every key). It is read once,
at the start, and checked strictly: an unknown key, an unknown column, a place that is none
or a code that leads nowhere raises ConfigError naming file, table and key.
"""

import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from hl7 import columns
from hl7.attributes import AttributesTable
from hl7.profile_base import Misplaced
from hl7.profile_base import Table as _Table
from hl7.profile_rules import EventName, EventTable, RuleTable
from hl7.profile_tables import (
    AppointmentTable,
    CloseTable,
    Columns,
    Control,
    LengthsTable,
    MessageTable,
    ModalitiesTable,
    ObservationTable,
    OrderTable,
    PatientIdentifierTable,
    PatientTable,
    ProcedureTable,
    Reasons,
    ReportTable,
    Started,
    StepTable,
    TimeTable,
    Values,
    WithIpcTable,
)
from mwl.errors import ConfigError

_Place = tuple[str | int, ...]

_MOST_RULES = 1_000
_MOST_REASONS = 200


class Profile(_Table):
    """What a profile file says; see `config/hl7/default.toml`."""

    title: Annotated[str, Field(max_length=200)] = ""
    source: Annotated[str, Field(max_length=1000)] = ""
    message: MessageTable
    events: Annotated[dict[str, EventName], Field(min_length=1)]
    time: TimeTable
    control: dict[str, Control]
    started: dict[str, Started] = Field(default_factory=dict)
    discontinued: Reasons = Field(default_factory=dict, max_length=_MOST_REASONS)
    close: CloseTable = CloseTable()
    patient_identifier: PatientIdentifierTable
    patient: PatientTable
    order: OrderTable
    procedure: ProcedureTable
    step: StepTable
    with_ipc: WithIpcTable
    values: dict[str, Values]
    modalities: ModalitiesTable
    observations: dict[Literal["patient_weight", "patient_size"], ObservationTable]
    appointment: AppointmentTable | None = None
    report: ReportTable | None = None
    rules: Annotated[
        tuple[RuleTable, ...], Field(alias="rule", max_length=_MOST_RULES, strict=False)
    ] = ()
    events_by_condition: Annotated[
        tuple[EventTable, ...], Field(alias="event", max_length=_MOST_RULES, strict=False)
    ] = ()
    attributes: AttributesTable = AttributesTable()
    lengths: LengthsTable = LengthsTable()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = columns.PATIENT | columns.ORDER | columns.PROCEDURE | columns.STEP
        tables = {column.table for column in known.values() if column.table}
        if missing := tables - set(self.values):
            raise ValueError(f"[values.{min(missing)}] is missing")
        if unknown := set(self.values) - tables:
            place = ("values", min(unknown))
            raise Misplaced(place, f"[values.{min(unknown)}] belongs to no column")
        self._have_their_tables()
        for number, rule in enumerate(self.rules):
            if rule.modality and rule.modality not in self.modalities.known:
                text = f"a [[rule]] gives the unknown modality {rule.modality!r}"
                raise Misplaced(("rule", number, "modality"), text)
        if unknown := set(self.started) - set(self.control):
            raise Misplaced(("started", min(unknown)), "is no code of [control]")
        self._gather_places_alone()
        return self

    def _gather_places_alone(self) -> None:
        """Refuse what can't be had of a column that takes all segments of a name."""
        ipc, appointment = self.with_ipc, self.appointment
        given: list[tuple[tuple[str, ...], Columns, dict[str, columns.Column]]] = [
            (("patient",), self.patient.columns, columns.PATIENT),
            (("order",), self.order.columns, columns.ORDER),
            (("procedure",), self.procedure.columns, columns.PROCEDURE),
            (("step",), self.step.columns, columns.STEP),
            (("with_ipc", "procedure"), ipc.procedure.columns, columns.PROCEDURE),
            (("with_ipc", "step"), ipc.step.columns, columns.STEP),
        ]
        if appointment is not None:
            own = appointment.procedure.columns
            given.append((("appointment", "order"), appointment.order, columns.ORDER))
            given.append((("appointment", "procedure"), own, columns.PROCEDURE))
            given.append((("appointment", "step"), appointment.step.columns, columns.STEP))
        for table, chains, known in given:
            for name, chain in chains.items():
                gathers = known[name].kind in columns.GATHERED
                if gathers and not all(link.is_plain for link in chain):
                    text = "takes places alone: it reads every segment of that name"
                    raise Misplaced((*table, name), text)

    def _have_their_tables(self) -> None:
        """Refuse events whose tables are missing."""
        named = set(self.events.values())
        if "report" in named and self.report is None:
            raise ValueError("[report] is missing")
        if "appointment" not in named:
            return
        if self.appointment is None:
            raise ValueError("[appointment] is missing")
        for kind, event in self.events.items():
            trigger = kind.partition("^")[2]
            if event == "appointment" and trigger not in self.appointment.control:
                raise ValueError(f"[appointment.control] {trigger} is missing")


def load(file: FilePath) -> Profile:
    """Read a profile that extends none; ConfigError names the file, the table and the key."""
    try:
        document = tomllib.loads(file.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error
    return parse(document, str(file))


def parse(document: dict[str, Any], origin: str | Callable[[_Place], object]) -> Profile:
    """Check a profile that was read from `origin`, a name or what tells where each key was."""
    try:
        return Profile.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        found = tuple(part for part in first["loc"] if part != "columns")
        cause = first.get("ctx", {}).get("error")
        place = (*found, *cause.place) if isinstance(cause, Misplaced) else found
        # Of a chain the line says which place it is; of a list of tables the number helps.
        shown = place[:-1] if place and isinstance(place[-1], int) else place
        table, *key = [str(part) for part in shown] or [""]
        named = f"[{table}] {'.'.join(key)}".strip() if table else ""
        text = _TEXTS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        where = origin if isinstance(origin, str) else str(origin(place))
        raise ConfigError(": ".join(filter(None, (where, named, text)))) from error


_TEXTS = {"extra_forbidden": "no such key or column", "missing": "is missing"}
