"""From ER7 text to an order change, against hl7apy reading the same text.

Both only compute, so their own CPU time is compared, in short pairs: what else the machine
does meanwhile meets both alike.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hl7apy.parser import parse_message

from hl7 import profile
from hl7.er7 import Message
from hl7.mapping import Mapper, envelope
from mwl.config import shipped
from tests.bench.measure import Result
from tests.builders import orm

_PAIRS = 60
_OURS = 50  # messages of ours for each of hl7apy's

# Six segments as a RIS sends them, with 28 fields that the default profile maps.
TEXT = orm(
    MSH_18="UNICODE UTF-8",
    PID_6="Roe^Mary",
    PID_11="1 Long Street^^Springfield^^12345^USA",
    PID_13="555-0100",
    PID_15="en",
    PV1_3="WARD3^12^2",
    PV1_8="1^Chen^Li^^^Dr",
    ORC_12="2^Okafor^Ada",
    ORC_17="RAD^Radiology",
    OBR_12="ICU^Intensive care",
    OBR_13="Pacemaker",
    OBR_30="WHLC^Wheelchair",
    OBR_31="R51^Headache^I10",
    OBR_34="7&Okafor&Ada",
    OBR_44="CTHEAD^CT of the head^99RIS",
)


def run() -> Iterator[Result]:
    mapper = Mapper(profile.load(shipped("hl7/default.toml")), ZoneInfo("Europe/Berlin"))
    now = datetime.now(UTC)

    def ours() -> None:
        for _ in range(_OURS):
            message = Message.parse(TEXT)
            mapper.read(message, envelope(message), now)

    def theirs() -> None:
        parse_message(TEXT, find_groups=False)

    pairs = [(_cpu_s(ours) / _OURS, _cpu_s(theirs)) for _ in range(_PAIRS)]
    ratio = statistics.median(their_s / our_s for our_s, their_s in pairs)
    our_s, their_s = map(statistics.median, zip(*pairs, strict=True))
    note = f"{our_s * 1e6:.0f} µs, hl7apy {their_s * 1e3:.1f} ms of CPU"
    yield Result("ER7 text → order change, times faster than hl7apy", ratio, "×", 100, note=note)


def _cpu_s(work: Callable[[], None]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
