"""The lists of a profile that are asked in their order: rules, and events by condition."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hl7.profile_base import ConditionsKey, Table

_Pattern = Annotated[str, StringConstraints(max_length=200)]
_Title = Annotated[str, Field(pattern=r"^[!-\[\]-~]{1,16}$")]

EventName = Literal[
    "order",
    "appointment",
    "report",
    "update_patient",
    "arrive_patient",
    "merge_patient",
    "merge_patient_and_visit",
    "renumber_patient",
    "link_patients",
    "unlink_patients",
]


class RuleTable(Table):
    """What follows from a code, a station or anything else; * and ? stand for any characters."""

    code: _Pattern = ""
    scheme: _Pattern = ""
    station: _Pattern = ""
    patient_class: _Pattern = ""
    patient_location: _Pattern = ""
    when: ConditionsKey = ()
    override: bool = False

    modality: str = ""
    stations: Annotated[tuple[_Title, ...], Field(strict=False)] = ()
    station_name: Annotated[str, StringConstraints(max_length=16)] = ""
    location: Annotated[str, StringConstraints(max_length=16)] = ""
    description: Annotated[str, StringConstraints(max_length=64)] = ""
    protocol: Annotated[str, StringConstraints(max_length=200)] = ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not (self.code or self.station or self._others()):
            raise ValueError("needs a code or a station to match, or a condition")
        if not (self.modality or self.stations or self.fields()):
            raise ValueError("needs a modality or stations to give, or another column")
        return self

    def _others(self) -> bool:
        return bool(self.scheme or self.patient_class or self.patient_location or self.when)

    def fields(self) -> dict[str, str | None]:
        """Give the columns of a step that it fills, the modality excepted."""
        found: dict[str, str | None] = {}
        for name in ("station_name", "location", "description"):
            if text := getattr(self, name):
                found[name] = text
        if self.protocol:
            code, meaning, scheme = [*self.protocol.split("^"), "", ""][:3]
            found["protocol_value"] = code
            found["protocol_meaning"] = meaning or code
            found["protocol_scheme"] = scheme or "L"
            found["protocol_items"] = ""  # no other codes
        return found

    @model_validator(mode="after")
    def _protocol_fits(self) -> Self:
        code, *rest = self.protocol.split("^")
        # PS3.3 table 8.8-1a: Code Value and Coding Scheme Designator are SH.
        lengths = [len(code) <= 16, *(len(each) <= 64 for each in rest[:1])]
        if not all(lengths) or len(rest) > 2 or any(len(each) > 16 for each in rest[1:]):
            raise ValueError('protocol: must be "code^meaning^scheme", the code of 1 to 16')
        return self


class EventTable(Table):
    """What messages are of which a condition holds: another event, or none."""

    message: _Pattern = "*"
    when: ConditionsKey
    event: Literal[EventName, "ignore"] = Field(alias="is")
