"""Which acknowledgements a message asks for: original and enhanced mode (v2.5.1 2.9.2, 2.9.3).

Where MSH-15 and MSH-16 are empty, the application acknowledgement alone answers: AA, AE, AR.
Otherwise each of them says when its acknowledgement is wanted (table 0155: AL always, NE
never, ER of faults, SU of success; empty or unknown: never):

- MSH-15, the accept acknowledgement: CA where the message is in safe storage, CR where its
  type, event, processing id or version is not taken here (2.9.3.1), after which nothing
  follows;
- MSH-16, the application acknowledgement. It comes behind the accept acknowledgement, on the
  same connection: a message is applied before anything is answered, and engines that ask for
  both wait there.

Who asks for no application acknowledgement of faults hears of them by CE, not by CA: we know
by then that nothing came of the message.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from hl7.ack import Code
from hl7.er7 import Segment
from mwl.errors import Fault, Reason

_CONDITIONS = frozenset({"AL", "NE", "ER", "SU"})  # table 0155
# Of table 0357: 200 to 203.
_NOT_TAKEN_HERE = frozenset(
    {
        Reason.UNSUPPORTED_TYPE,
        Reason.UNSUPPORTED_EVENT,
        Reason.UNSUPPORTED_PROCESSING,
        Reason.UNSUPPORTED_VERSION,
    }
)
# An acknowledgement is never acknowledged; MCF was the delayed one until v2.3.
_ACKNOWLEDGEMENTS = frozenset({"ACK", "MCF"})


class Asked(NamedTuple):
    """What a message in enhanced mode asks for: MSH-15 and MSH-16."""

    accept: str
    application: str


ORIGINAL: Final = None
NOTHING: Final = Asked("NE", "NE")


def is_acknowledgement(msh: Segment) -> bool:
    """Tell whether a message is one itself: late, or of an answer of ours."""
    return len(msh.fields) > 9 and msh.fields[9][:3] in _ACKNOWLEDGEMENTS


def asked(msh: Segment) -> Asked | None:
    """Tell what a message asks for; ORIGINAL where it is in original mode."""
    fields = msh.fields
    if is_acknowledgement(msh):
        return NOTHING
    if len(fields) < 16 or not (fields[15] or (len(fields) > 16 and fields[16])):
        return ORIGINAL
    given = Asked(_condition(msh, 15), _condition(msh, 16))
    return given if any(given) else ORIGINAL


def _condition(msh: Segment, field: int) -> str:
    value = msh.get(field)
    code = value.strip().upper() if isinstance(value, str) else ""
    return code if code in _CONDITIONS else ""


def answers(given: Asked | None, code: Code, faults: Sequence[Fault]) -> list[Code]:
    """Tell the answers to a message, in order; `code` is its application acknowledgement."""
    if given is ORIGINAL:
        return [code]
    well = code == Code.AA
    committed = _committed(given, well, faults)
    said = [committed] if _wanted(given.accept, committed == Code.CA) else []
    if _wanted(given.application, well) and (committed == Code.CA or not said):
        said.append(code)
    return said


def _committed(given: Asked, well: bool, faults: Sequence[Fault]) -> Code:
    if not well and any(fault.reason in _NOT_TAKEN_HERE for fault in faults):
        return Code.CR
    return Code.CA if well or _wanted(given.application, well) else Code.CE


def _wanted(condition: str, well: bool) -> bool:
    return condition in {"AL", "SU" if well else "ER"}
