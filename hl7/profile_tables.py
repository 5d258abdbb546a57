"""The tables of a mapping profile, each with what makes a value wrong."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, model_validator

from hl7 import columns
from hl7.er7 import Path, path
from hl7.profile_base import ChainKey as _Chain
from hl7.profile_base import Misplaced
from hl7.profile_base import Table as _Table
from hl7.profile_base import Texts as _Texts
from hl7.profile_base import upper as _upper
from hl7.strictness import Strictness
from mwl.orders import Action, StudyUidPolicy
from mwl.patients import Identifier
from mwl.performed import ANY_REASON, NO_REASON, Said
from mwl.reports import Status as ReportStatus

ANY = "*"  # any other ORC-5, any other value of a table
EMPTY = "-"  # an empty ORC-5
REFUSE = "refuse"  # for a step that has started

_MOST_ISSUERS = 1_000
_MOST_UNKNOWN = 100


def _place(value: Any) -> Path:
    if not isinstance(value, str):
        raise ValueError('must be a place like "MRG-1"')  # noqa: TRY004 - pydantic's contract
    return path(value)


def _zone(value: Any) -> ZoneInfo | None:
    if value == "":
        return None
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, TypeError, ValueError, OSError):
        raise ValueError(f"{value!r} is no IANA time zone") from None


def _issuer(value: Any) -> Identifier:
    if not isinstance(value, str) or value.count("^") > 2:
        raise ValueError('must be "namespace" or "namespace^universal ID^type"')
    return Identifier("", *value.split("^"))


def _by_status(value: Any) -> dict[str, str]:
    by_status = {ANY: value} if isinstance(value, str) else value
    if not isinstance(by_status, dict) or ANY not in by_status:
        raise ValueError(f'must be an action, or a table of them by ORC-5 with "{ANY}"')
    return by_status


def _control(value: Any) -> dict[str, Action]:
    return {status: Action(action) for status, action in _by_status(value).items()}


def _started(value: Any) -> dict[str, Action | None]:
    """Read actions for steps that have started; None refuses the message."""
    return {
        status: None if action == REFUSE else Action(action)
        for status, action in _by_status(value).items()
    }


_BECOMES = {
    "discontinued": Said.DISCONTINUED,
    "canceled": Said.CANCELED,
    "scheduled": Said.TAKEN_BACK,
}


def _reasons(table: Any) -> Any:
    """Read what becomes of a step by the reason: code^scheme, DCM left out."""
    if not isinstance(table, dict):
        return table
    found = {}
    for reason, becomes in table.items():
        code, _, scheme = reason.partition("^")
        if not code or "^" in scheme or (scheme and reason in {ANY_REASON, NO_REASON}):
            text = f'must be "code" of DCM, "code^scheme", "{ANY_REASON}" or "{NO_REASON}"'
            raise Misplaced((reason,), text)
        if becomes not in _BECOMES:
            raise Misplaced((reason,), f"must be one of {', '.join(_BECOMES)}")
        found[code if scheme in {"", "DCM"} else reason] = _BECOMES[becomes]
    return found


Columns = dict[str, _Chain]
Values = Annotated[dict[str, str], BeforeValidator(_upper)]
Control = Annotated[dict[str, Action], BeforeValidator(_control)]
Started = Annotated[dict[str, Action | None], BeforeValidator(_started)]
Reasons = Annotated[dict[str, Said], BeforeValidator(_reasons)]
_Issuer = Annotated[Identifier, BeforeValidator(_issuer)]


def _gather(table: Any, known: dict[str, columns.Column]) -> Any:
    """Put the keys that are columns together under `columns`."""
    if not isinstance(table, dict):
        return table
    rest = {key: value for key, value in table.items() if key not in known}
    return {**rest, "columns": {key: table[key] for key in table if key in known}}


class MessageTable(_Table):
    processing_ids: _Texts
    charset: str
    strictness: Strictness = "off"
    answer: Literal["ack", "order"] = "ack"


class CloseTable(_Table):
    """How its orders end where that is not as the site's do."""

    images: Literal["", "here", "elsewhere"] = ""


class LengthsTable(_Table):
    """What becomes of identifiers that are longer than their attribute: AE, or a short one."""

    accession_number: Literal["refuse", "map"] = "refuse"
    requested_procedure_id: Literal["refuse", "map"] = "refuse"
    sps_id: Literal["refuse", "map"] = "refuse"
    patient_id: Literal["refuse", "map"] = "refuse"

    def maps(self, name: str) -> bool:
        """Tell whether a short one stands for those of a column."""
        return getattr(self, name, "") == "map"


class TimeTable(_Table):
    zone: Annotated[ZoneInfo | None, BeforeValidator(_zone)]
    msh7_offset: bool


class PatientIdentifierTable(_Table):
    sources: Annotated[_Chain, Field(alias="from", min_length=1)]
    others: _Chain
    prior: Annotated[Path, BeforeValidator(_place)]
    prior_visit: _Chain = ()
    visit: _Chain = ()
    authorities: _Texts
    types: _Texts
    never: _Texts
    default_issuer: Annotated[Identifier, BeforeValidator(_issuer)]
    issuers: Annotated[tuple[_Issuer, ...], Field(strict=False, max_length=_MOST_ISSUERS)] = ()
    unknown_names: Annotated[
        tuple[Annotated[str, Field(min_length=2, max_length=64)], ...],
        Field(strict=False, max_length=_MOST_UNKNOWN),
    ] = ()


class PatientTable(_Table):
    columns: Columns

    @model_validator(mode="before")
    @classmethod
    def _columns(cls, table: Any) -> Any:
        return _gather(table, columns.PATIENT)


class OrderTable(_Table):
    filler: Annotated[_Chain, Field(min_length=1)]
    placer: _Chain
    unknown_cancel: Literal["keep", "refuse"] = "keep"
    issued: _Chain = ()
    columns: Columns

    @model_validator(mode="before")
    @classmethod
    def _columns(cls, table: Any) -> Any:
        return _gather(table, columns.ORDER)


class IpcProcedureTable(_Table):
    requested_procedure_id: _Chain = ()
    code: _Chain = ()
    study_uid: _Chain = ()
    columns: Columns

    @model_validator(mode="before")
    @classmethod
    def _columns(cls, table: Any) -> Any:
        return _gather(table, columns.PROCEDURE)


class ProcedureTable(IpcProcedureTable):
    study_uid_policy: Annotated[StudyUidPolicy, Field(strict=False)]


class StepTable(_Table):
    sps_id: _Chain = ()
    modality: _Chain = ()
    start: _Chain = ()
    stations: _Chain = ()
    columns: Columns

    @model_validator(mode="before")
    @classmethod
    def _columns(cls, table: Any) -> Any:
        return _gather(table, columns.STEP)


class WithIpcTable(_Table):
    procedure: IpcProcedureTable
    step: StepTable


class ModalitiesTable(_Table):
    known: _Texts
    synonyms: Values

    @model_validator(mode="after")
    def _lead_somewhere(self) -> Self:
        for name, modality in self.synonyms.items():
            if modality not in self.known:
                raise ValueError(f"the synonym {name} leads to {modality!r}, which is not known")
        return self

    def all(self) -> dict[str, str]:
        """Map every accepted spelling to its modality."""
        return {**{name: name for name in self.known}, **self.synonyms}


def _factors(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {unit: Decimal(str(n)) for unit, n in value.items() if _is_number(unit, n)}


def _is_number(unit: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"the factor of {unit} must be a number")  # noqa: TRY004
    return True


class ObservationTable(_Table):
    codes: _Texts
    texts: _Texts
    units: Annotated[
        dict[str, Annotated[Decimal, Field(gt=0)]], BeforeValidator(_factors), Field(min_length=1)
    ]


class AppointmentTable(_Table):
    """Where SIU messages have what orders have; the general tables are asked after these."""

    control: dict[str, Annotated[dict[str, Action], BeforeValidator(_control)]]
    status: _Chain = ()
    filler: _Chain = ()
    placer: _Chain = ()
    filler_appointment: _Chain = ()
    placer_appointment: _Chain = ()
    order: dict[str, _Chain] = Field(default_factory=dict)
    procedure: IpcProcedureTable
    step: StepTable

    @model_validator(mode="after")
    def _order_columns(self) -> Self:
        if unknown := set(self.order) - set(columns.ORDER):
            raise ValueError(f"order.{min(unknown)}: no such column")
        return self


class ReportTable(_Table):
    """Where ORU messages say what a report is."""

    completes_order: bool = False
    title: _Chain = ()
    code: _Chain = ()
    status: _Chain = ()
    issued_at: _Chain = ()
    interpreter: _Chain = ()
    others: _Chain = ()
    study_uid_codes: _Texts = ()
    study_uid_texts: _Texts = ()
    states: Annotated[
        dict[str, Annotated[ReportStatus, Field(strict=False)]], BeforeValidator(_upper)
    ]

    @model_validator(mode="after")
    def _people_stand_in_places(self) -> Self:
        for name, chain in (("interpreter", self.interpreter), ("others", self.others)):
            for number, link in enumerate(chain):
                if link.value or link.edit:
                    text = "takes places, with conditions or without: it reads whole names"
                    raise Misplaced((name, number), text)
        return self
