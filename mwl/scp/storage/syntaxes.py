"""What is taken in: SOP classes and transfer syntaxes, as the standard lists them.

Written out, for the tables that libraries have cost a tenth of a second of every start.
"""

from mwl.net.pdu import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"

# PS3.4 table B.5-1 and PS3.6 annex A, behind 1.2.840.10008.5.1.4.
_CLASSES = """
    1.1.1 1.1.1.1 1.1.1.1.1 1.1.1.2 1.1.1.2.1 1.1.1.3 1.1.1.3.1 1.1.2 1.1.2.1 1.1.2.2 1.1.3.1
    1.1.4 1.1.4.1 1.1.4.2 1.1.4.3 1.1.4.4 1.1.6.1 1.1.6.2 1.1.6.3 1.1.7 1.1.7.1 1.1.7.2
    1.1.7.3 1.1.7.4 1.1.9.1.1 1.1.9.1.2 1.1.9.1.3 1.1.9.1.4 1.1.9.2.1 1.1.9.3.1 1.1.9.4.1
    1.1.9.4.2 1.1.9.5.1 1.1.9.6.1 1.1.9.6.2 1.1.9.7.1 1.1.9.7.2 1.1.9.7.3 1.1.9.7.4 1.1.9.8.1
    1.1.9.100.1 1.1.9.100.2 1.1.11.1 1.1.11.2 1.1.11.3 1.1.11.4 1.1.11.5 1.1.11.6 1.1.11.7
    1.1.11.8 1.1.11.9 1.1.11.10 1.1.11.11 1.1.11.12 1.1.12.1 1.1.12.1.1 1.1.12.2 1.1.12.2.1
    1.1.13.1.1 1.1.13.1.2 1.1.13.1.3 1.1.13.1.4 1.1.13.1.5 1.1.14.1 1.1.14.2 1.1.20 1.1.30
    1.1.66 1.1.66.1 1.1.66.2 1.1.66.3 1.1.66.4 1.1.66.5 1.1.66.6 1.1.66.7 1.1.66.8 1.1.67
    1.1.68.1 1.1.68.2 1.1.77.1.1 1.1.77.1.1.1 1.1.77.1.2 1.1.77.1.2.1 1.1.77.1.3 1.1.77.1.4
    1.1.77.1.4.1 1.1.77.1.5.1 1.1.77.1.5.2 1.1.77.1.5.3 1.1.77.1.5.4 1.1.77.1.5.5 1.1.77.1.5.6
    1.1.77.1.5.7 1.1.77.1.5.8 1.1.77.1.6 1.1.77.1.7 1.1.77.1.8 1.1.77.1.9 1.1.78.1 1.1.78.2
    1.1.78.3 1.1.78.4 1.1.78.5 1.1.78.6 1.1.78.7 1.1.78.8 1.1.79.1 1.1.80.1 1.1.81.1 1.1.82.1
    1.1.88.11 1.1.88.22 1.1.88.33 1.1.88.34 1.1.88.35 1.1.88.40 1.1.88.50 1.1.88.59 1.1.88.65
    1.1.88.67 1.1.88.68 1.1.88.69 1.1.88.70 1.1.88.71 1.1.88.72 1.1.88.73 1.1.88.74 1.1.88.75
    1.1.88.76 1.1.88.77 1.1.90.1 1.1.91.1 1.1.104.1 1.1.104.2 1.1.104.3 1.1.104.4 1.1.104.5
    1.1.128 1.1.128.1 1.1.130 1.1.131 1.1.200.2 1.1.200.8 1.1.481.1 1.1.481.2 1.1.481.3
    1.1.481.4 1.1.481.5 1.1.481.6 1.1.481.7 1.1.481.8 1.1.481.9 1.1.481.10 1.1.481.11
    1.1.481.12 1.1.481.13 1.1.481.14 1.1.481.15 1.1.481.16 1.1.481.17 1.1.481.18 1.1.481.19
    1.1.481.20 1.1.481.21 1.1.481.22 1.1.481.23 1.1.481.24 1.1.481.25 34.7 34.10
"""

# Retired, and sent by old scanners still: ultrasound multi-frame, nuclear medicine,
# ultrasound, biplane angiography.
_RETIRED = "1.1.3 1.1.5 1.1.6 1.1.12.3"

STORAGE_CLASSES = tuple(
    f"1.2.840.10008.5.1.4.{branch}" for branch in f"{_CLASSES} {_RETIRED}".split()
)

# Those that show nothing, with all below them.
_WITHOUT_PIXELS = """
    1.1.4.2 1.1.9 1.1.11 1.1.66.1 1.1.66.2 1.1.66.3 1.1.66.5 1.1.66.6 1.1.67 1.1.68 1.1.77.1.5.3
    1.1.77.1.5.8 1.1.78 1.1.79 1.1.80 1.1.88 1.1.90 1.1.91 1.1.104 1.1.131 1.1.200 1.1.481 34
"""
# But these do: radiotherapy's images and doses.
_WITH_PIXELS = "1.1.481.1 1.1.481.2 1.1.481.23 1.1.481.24"
_RAW_DATA = "1.1.66"


def _shows_something(uid: str) -> bool:
    branch = uid.removeprefix("1.2.840.10008.5.1.4.")
    if branch in _WITH_PIXELS.split():
        return True
    below = tuple(f"{each}." for each in _WITHOUT_PIXELS.split())
    return branch != _RAW_DATA and not f"{branch}.".startswith(below)


IMAGE_CLASSES = frozenset(filter(_shows_something, STORAGE_CLASSES))

# PS3.5 annex A, behind 1.2.840.10008.1.2. Not those whose pixels are elsewhere (JPIP, .4.94,
# .4.95, .4.204, .4.205) or never in a file (SMPTE ST 2110, .7).
_ENCAPSULATED = """
    .4.50 .4.51 .4.57 .4.70 .4.80 .4.81 .4.90 .4.91 .4.92 .4.93 .4.100 .4.100.1 .4.101 .4.101.1
    .4.102 .4.102.1 .4.103 .4.103.1 .4.104 .4.104.1 .4.105 .4.105.1 .4.106 .4.106.1 .4.107
    .4.108 .4.110 .4.111 .4.112 .4.201 .4.202 .4.203 .5 .8.1
"""

ENCAPSULATED = frozenset(f"1.2.840.10008.1.2{branch}" for branch in _ENCAPSULATED.split())

TRANSFER_SYNTAXES = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    *(f"1.2.840.10008.1.2{branch}" for branch in _ENCAPSULATED.split()),
)
