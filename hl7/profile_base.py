"""What the tables of a profile are made of."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hl7.chains import Chain, Conditions, chain, conditions

ChainKey = Annotated[Chain, BeforeValidator(chain)]
ConditionsKey = Annotated[Conditions, BeforeValidator(conditions)]
# TOML knows lists, not sets or tuples.
Texts = Annotated[tuple[str, ...], Field(strict=False)]


class Table(BaseModel):
    """A table that knows all of its keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True
    )


class Misplaced(ValueError):
    """Something wrong with keys that only together are wrong; `place` is the one to look at."""

    def __init__(self, place: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.place = place


def upper(value: Any) -> Any:
    """Let the keys of a table count in any case."""
    return {k.upper(): v for k, v in value.items()} if isinstance(value, dict) else value
