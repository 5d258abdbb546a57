"""What the tables of a profile are made of."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hl7.chains import Chain, Conditions, Misplaced, chain, conditions

__all__ = ["ChainKey", "ConditionsKey", "Misplaced", "Table", "Texts", "upper"]

ChainKey = Annotated[Chain, BeforeValidator(chain)]
ConditionsKey = Annotated[Conditions, BeforeValidator(conditions)]
# TOML knows lists, not sets or tuples.
Texts = Annotated[tuple[str, ...], Field(strict=False)]


class Table(BaseModel):
    """A table that knows all of its keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True
    )


def upper(value: Any) -> Any:
    """Let the keys of a table count in any case."""
    return {k.upper(): v for k, v in value.items()} if isinstance(value, dict) else value
