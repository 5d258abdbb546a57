"""What every table of the settings is."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Named keys and no others, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def dotted(place: tuple[int | str, ...]) -> str:
    """Write a place as people count: `device[2].port`."""
    text = ""
    for part in place:
        if part != "[key]":  # of a table of values: it is the value's name itself
            text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")
