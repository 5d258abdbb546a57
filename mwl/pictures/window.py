"""The window of a grey picture."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Which values are shown between black and white, after the modality LUT."""

    center: float
    width: float
