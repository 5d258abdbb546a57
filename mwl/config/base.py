"""What every table of the settings is."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Named keys and no others, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True)
