"""Messages as RISes send them, one quirk a file, and what must become of each.

`hl7/QUIRK.hl7` holds a message as it is on the wire, unframed; `hl7/QUIRK.mllp` a stream with
its framing, for quirks of that and for several messages. Beside it `QUIRK.toml` says:

    before = ["order/plain"]        # cases whose messages come first; each is answered AA
    zone = "Europe/Berlin"          # the site's, if another
    shipped = "ihe-swf"             # a profile of config/hl7, if not the default one
    [profile.time]                  # what differs from config/hl7/default.toml
    [[answer]]                      # one a message
    code = "AE"                     # MSA-1; "" where no message comes out of the stream
    errors = ["OBR-20 104"]         # ERR-2 and ERR-3 of each
    state = "rejected"              # in the journal; "" where nothing is kept
    flags = ["…"]                   # all that a person sees
    [[item]]                        # the worklist as a scanner is answered, in its order
    AccessionNumber = "ACC100"      # by DICOM keyword; a code is value^scheme^meaning
    [[patient]]                     # columns of patients; merged_into by identifier
    [[report]]                      # columns of reports; `order` by number

An expectation is what the standards and the department want, and was written before the
program was asked. A value that ends in * is the beginning of what is expected.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hl7 import mllp

FOLDER = Path(__file__).parent / "hl7"
_LONGEST = 1_000_000


@dataclass(frozen=True)
class Case:
    """One quirk."""

    name: str
    stream: bytes
    expected: dict[str, Any]

    @property
    def before(self) -> list["Case"]:
        return [load(name) for name in self.expected.get("before", ())]

    def messages(self, chunk: int = _LONGEST) -> list[bytes]:
        """Give what the framer makes of the stream, fed so many bytes at a time."""
        framer = mllp.Framer(_LONGEST)
        found: list[bytes] = []
        for at in range(0, len(self.stream), chunk):
            found += framer.feed(self.stream[at : at + chunk])
        return found + framer.close()


def load(name: str) -> Case:
    """Read a case by its name, such as "order/plain"."""
    expected = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    if (stream := FOLDER / f"{name}.mllp").exists():
        return Case(name, stream.read_bytes(), expected)
    return Case(name, mllp.frame((FOLDER / f"{name}.hl7").read_bytes()), expected)


def names() -> Iterator[str]:
    """Name all cases."""
    for path in sorted(FOLDER.rglob("*.toml")):
        yield str(path.relative_to(FOLDER).with_suffix(""))
