"""One thing that `mwl check` looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what a person should read about it."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    text: str
