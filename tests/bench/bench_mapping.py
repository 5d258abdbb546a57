"""From ER7 text to an order change, against hl7apy reading the same text."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hl7apy.parser import parse_message

from hl7 import profile
from hl7.er7 import Message
from hl7.mapping import Mapper, envelope
from mwl.config import shipped
from tests.bench.measure import Result, contest
from tests.builders import orm

_OURS = 200  # messages a run of ours, for every one of hl7apy's


def run() -> Iterator[Result]:
    text = orm(
        MSH_18="UNICODE UTF-8",
        PV1_8="1^Chen^Li^^^Dr",
        OBR_34="7&Okafor&Ada",
    )
    mapper = Mapper(profile.load(shipped("hl7/default.toml")), ZoneInfo("Europe/Berlin"))

    now = datetime.now(UTC)

    def ours() -> None:
        for _ in range(_OURS):
            message = Message.parse(text)
            mapper.read(message, envelope(message), now)

    our_s, their_s = contest(ours, lambda: parse_message(text, find_groups=False))
    ratio = their_s / (our_s / _OURS)
    note = f"{our_s / _OURS * 1e6:.0f} µs, hl7apy {their_s * 1e3:.1f} ms"
    yield Result("ER7 text → order change, times faster than hl7apy", ratio, "×", 100, note=note)
