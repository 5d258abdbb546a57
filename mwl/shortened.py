"""Short identifiers of ours that stand for long ones of a sender's; pure.

Accession numbers and the IDs of procedures and steps are SH, 16 characters, and a Patient ID is
an LO of 64. What is longer is never cut. Where a profile allows it, an identifier that is made
of the long one's hash stands for it: the same for the same, whenever and wherever it is made.
`mwl.worklist.longer` keeps which it stands for, finds collisions and leads back.
"""

import base64
import hashlib
from typing import Final

Shortened = tuple[tuple[str, str], ...]
"""What is new of them in a message: short and long."""

LONGEST: Final = 1_000  # characters of a long one
_MARK: Final = "L-"
_SH, _LO = 16, 64
# Behind the mark: 70 bits, and 150.
_DIGITS: Final = {_SH: 14, _LO: 30}


def shorten(text: str, length: int) -> str:
    """Give what stands for `text` where an attribute holds `length` characters, 16 or 64."""
    digest = base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()
    return _MARK + digest[: _DIGITS[length]]


def may_stand_for(text: str) -> bool:
    """Tell whether an identifier looks like one of ours."""
    return text.startswith(_MARK) and len(text) - len(_MARK) in _DIGITS.values()


def known_as(text: str) -> list[str]:
    """Give what an identifier may be kept as: itself, and what stands for it if it is long."""
    return [text, *(shorten(text, length) for length in _DIGITS if len(text) > length)]
