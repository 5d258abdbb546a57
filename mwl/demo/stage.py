"""Where the demo plays: the server's addresses, the RIS, the scanners, the clock, the voice."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hl7.client import Ack
from mwl.audit import Actor
from mwl.config import Settings
from mwl.db import Database
from mwl.demo.association import Failed
from mwl.demo.ris import Order, Ris
from mwl.demo.safety import reachable
from mwl.demo.scanner import Scanner

_DIGITS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # I and O are read as 1 and 0
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_ACTOR, _WHAT = 10, 46  # columns


@dataclass(slots=True)
class Stage:
    """One run; `say` is given each line for people, `actor` is who registers scanners."""

    settings: Settings
    database: Database
    say: Callable[[str], None]
    actor: Actor
    run: str = field(default_factory=lambda: run_name(datetime.now(UTC)))
    ris: Ris = field(init=False)

    def __post_init__(self) -> None:
        hl7 = self.settings.hl7
        self.ris = Ris(reachable(hl7.host), hl7.port, self.run)

    def now(self) -> datetime:
        """Tell the time by the site's clock."""
        return datetime.now(self.settings.site.zone_info)

    def scanner(self, ae_title: str) -> Scanner:
        """Give the scanner with this AE title, which talks to our server."""
        dicom = self.settings.dicom
        return Scanner(ae_title, reachable(dicom.host), dicom.port, dicom.ae_title)

    def page(self, path: str) -> str:
        """Give the address of a page."""
        web = self.settings.web
        host = reachable(web.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{web.port}{path}"

    @contextmanager
    def step(self, actor: str, what: str) -> Iterator[list[str]]:
        """Do one step and tell of it with the time that it took; the list is what came of it."""
        begun, came = time.perf_counter(), list[str]()
        yield came
        took_ms = 1000 * (time.perf_counter() - begun)
        self.say(f"{took_ms:7.0f} ms  {actor:<{_ACTOR}}{what:<{_WHAT}}{'  '.join(came)}".rstrip())

    def aside(self, text: str) -> None:
        """Tell what was seen in the last step."""
        self.say(f"{'':12}{'':{_ACTOR}}{text}")

    def order(self, kind: str, order: Order, control: str, status: str = "") -> Ack:
        """Send what the RIS says of an order."""
        is_imaging = kind.startswith("OMI")
        segments = (
            order.imaging_segments(control) if is_imaging else order.segments(control, status)
        )
        return self.ris.tell(kind, segments, self.now(), order.patient.person.charset)


def taken(ack: Ack) -> str:
    """Give MSA-1 of a message that has to be taken. Raises Failed."""
    if not ack.accepted:
        raise Failed(f"the server answered {ack.code} to an order of the demo: {ack.text}")
    return ack.code


def run_name(now: datetime) -> str:
    """Name a run by its time, in hundredths of a second: what it makes is new each time."""
    left, name = int((now - _EPOCH).total_seconds() * 100), ""
    while left:
        left, digit = divmod(left, len(_DIGITS))
        name = _DIGITS[digit] + name
    return f"D{name}"
