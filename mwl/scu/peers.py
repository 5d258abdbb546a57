"""Whom we call."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM peer with its address."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"
