"""The AE titles of the demo's scanners that send MPPS, by modality."""

from typing import Final

STATIONS: Final = {"CT": "DEMO-CT1", "MR": "DEMO-MR1", "DX": "DEMO-DX1", "US": "DEMO-US1"}
