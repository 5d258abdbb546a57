"""What a device may do wrong, or can't read, in words; `mwl.scp.tolerance` makes up for it."""

from collections.abc import Mapping
from typing import get_args

from mwl.config import Tolerated

TOLERANCES: Mapping[Tolerated, str] = {
    "dates": "It asks for days and times in other forms: 2030-01-02, 2030*, ends swapped",
    "long-values": "It asks by values that are too long for DICOM, read off an order",
    "wildcards": "It asks by * and ? where only one whole value is looked for",
    "bare-names": "It asks for names by how they begin, without a * behind",
    "open-sequences": "It leaves sequences in its queries unended",
    "ff01": "It takes “a key is not supported” (FF01) for a failure: it is not told so",
    "empty-sequences": "It can't read empty sequences: they are left out",
    "undefined-lengths": "It can't read sequences of undefined length: lengths are told",
}
"""Each as what is true of the device."""
assert set(TOLERANCES) == set(get_args(Tolerated))
