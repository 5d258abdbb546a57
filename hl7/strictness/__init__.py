"""How strictly a source's messages are held to the standard: off, tolerant or strict.

Each fault is named by its place: a segment that is missing or out of place (table 0357: 100),
a required field that is empty (101), a value of another data type, one that repeats where it
may not (102), one that is in no table (103) or too long (104). Faults are all gathered, 50 at
most, and never hold a value. `tolerant` tells of them and takes the message; `strict`
refuses it. A version that nobody published is read as 2.5.1; only `strict` minds (203).

hl7apy's knowledge of each version is loaded when the first message is checked, so that where
all is `off` nobody pays for it.
"""

from collections.abc import Sequence
from typing import Literal

import structlog

from hl7 import er7
from mwl.errors import Fault, Reason

log = structlog.get_logger(__name__)

Strictness = Literal["off", "tolerant", "strict"]
_Found = tuple[Sequence[Fault], Sequence[str]]
_NOTHING: _Found = ((), ())


def check(message: er7.Message, strictness: Strictness) -> _Found:
    """Hold a message to the version that it says it is of.

    Gives the faults, all of them, and the flags that tell a person of them where the message
    is taken all the same. There may be whatever its sender likes in Z segments and in fields
    that are withdrawn.
    """
    if strictness == "off":
        return _NOTHING
    try:
        found = faults(message)
    except Exception as error:
        # Not its text, which may quote the message; and no order is lost by a defect here.
        log.error("hl7.strictness.defect", error=type(error).__name__)  # noqa: TRY400
        return (), ["it could not be held to the standard: a defect here"]
    return found, [f"{each}" for each in found] if strictness == "tolerant" else ()


def faults(message: er7.Message) -> Sequence[Fault]:
    """Give all that is wrong with a message, by the standard."""
    # It takes 30 ms and megabytes: nobody pays for it who checks nothing.
    from hl7.mapping.report import Report
    from hl7.strictness import reference, structure, values

    report = Report()
    said = message.text("MSH-12")
    if said not in reference.VERSIONS:
        text = f"no version of HL7 v2 that is known; read as {reference.FALLBACK}"
        report.fault(Reason.UNSUPPORTED_VERSION, "MSH-12", text)
    version = reference.version(said if said in reference.VERSIONS else reference.FALLBACK)
    structure.check(message, version, report)
    for segment in message.segments:
        if not segment.name.startswith("Z"):
            values.check(segment, version, report)
    if said in reference.VERSIONS:
        return report.faults
    # One line says it.
    return [each for each in report.faults if not each.where.startswith("MSH-12.")]


def together(first: Sequence[Fault], further: Sequence[Fault]) -> Sequence[Fault]:
    """Join what the standard and the mapping find wrong; of one place, the first says it."""
    said = {(each.where, each.occurrence) for each in first}
    return [*first, *(each for each in further if (each.where, each.occurrence) not in said)]
