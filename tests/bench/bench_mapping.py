"""From ER7 text to an order change, against hl7apy reading the same text.

Both only compute, so their own CPU time is compared, in short pairs: what else the machine
does meanwhile meets both alike.
"""

import itertools
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

_PAIRS = 40
_OURS = 200  # messages of ours for each of hl7apy's: as long as that takes, or nearly
_PATIENTS = 1_000

# A department's, which come again and again; what is a patient's or an order's own is not.
_PHYSICIANS = [f"{n}^{name}^Ada{n}" for n, name in enumerate(("Chen", "Okafor") * 30, 65)]
_EXAMS = [f"CT{n}^CT of region {n}^99RIS" for n in range(80)]
_WARDS = [f"WARD{n}^{n}^2" for n in range(20)]
_NAMES = ("Doe", "Roe", "Smith-Jones", "de la Cruz", "Müller", "O'Neill", "Ito")


def message(number: int) -> str:
    """Make six segments as a RIS sends them, with 28 fields that the default profile maps."""
    day, minute = 1 + number % 28, number % 60
    physician, exam = _PHYSICIANS[number % len(_PHYSICIANS)], _EXAMS[number % len(_EXAMS)]
    order = {"OBR_2": f"PO{number}^RIS", "OBR_3": f"FO{number}^RIS"}
    return orm(
        MSH_7=f"202501{day:02}1200{minute:02}",
        MSH_18="UNICODE UTF-8",
        PID_3=f"PID{number}^^^ADT1^MR",
        PID_5=f"{_NAMES[number % len(_NAMES)]}^Jane{number}^Q",
        PID_6=f"{_NAMES[number % 5]}^Mary{number}",
        PID_7=f"19{number % 100:02}{1 + number % 12:02}{day:02}",
        PID_11=f"{number} Long Street^^Springfield^^{10_000 + number}^USA",
        PID_13=f"555-{number:04}",
        PID_15="en",
        PV1_3=_WARDS[number % len(_WARDS)],
        PV1_8=physician,
        PV1_19=f"V{number}^^^ADT1",
        ORC_2=order["OBR_2"],
        ORC_3=order["OBR_3"],
        ORC_7=f"^^^203001{day:02}09{minute:02}00^^R",
        ORC_12=physician,
        ORC_17="RAD^Radiology",
        **order,
        OBR_4=exam,
        OBR_12="ICU^Intensive care",
        OBR_13="Pacemaker",
        OBR_18=f"ACC{number}",
        OBR_19=f"RP{number}",
        OBR_20=f"SPS{number}",
        OBR_30="WHLC^Wheelchair",
        OBR_31=f"R51^Headache, {number} days^I10",
        OBR_34="7&Okafor&Ada",
        OBR_44=exam,
        ZDS_1=f"1.2.826.0.1.3680043.8.498.{number}^^Application^DICOM",
    )


def run() -> Iterator[Result]:
    mapper = Mapper(profile.load(shipped("hl7/default.toml")), ZoneInfo("Europe/Berlin"))
    now = datetime.now(UTC)
    texts = itertools.cycle([message(number) for number in range(_PATIENTS)])

    def ours() -> None:
        for text in itertools.islice(texts, _OURS):
            read = Message.parse(text)
            mapper.read(read, envelope(read), now)

    def theirs() -> None:
        parse_message(next(texts), find_groups=False)

    for _ in range(_PATIENTS // _OURS):
        ours()
    pairs = [(_cpu_s(ours) / _OURS, _cpu_s(theirs)) for _ in range(_PAIRS)]
    ratio = statistics.median(their_s / our_s for our_s, their_s in pairs)
    our_s, their_s = map(statistics.median, zip(*pairs, strict=True))
    note = f"{our_s * 1e6:.0f} µs, hl7apy {their_s * 1e3:.1f} ms of CPU"
    yield Result("ER7 text → order change, times faster than hl7apy", ratio, "×", 200, note=note)


def _cpu_s(work: Callable[[], None]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
