"""What `mwl check` finds about who is sent HL7 messages or MPPS, or asked for a worklist."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mwl.cli.finding import Finding
from mwl.config import Settings
from mwl.listeners import own_place
from mwl.roles.reaching import Peers, reach

_AT_ONCE = 16


def receivers(settings: Settings) -> Iterator[Finding]:
    """See that each is there, and that none is ourselves; nothing is sent."""
    to: list[tuple[str, Peers]] = [
        *(("hl7.destination", each) for each in settings.hl7.destination),
        *(("hl7.forward", each) for each in settings.hl7.forward),
        *(("mpps.forward", each) for each in settings.mpps.forward),
        *(("worklist.source", each) for each in settings.worklist.source),
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(lambda each: _receiver(settings, *each), to)


def _receiver(settings: Settings, table: str, to: Peers) -> Finding:
    own = own_place(settings, to.host, to.port)
    if own is not None:
        text = f"{to.name}: {to.host}:{to.port} is our own {own.port_key}: name another system's"
        return Finding("fail", table, text)
    answer = reach(settings, to)
    return Finding("ok" if answer.well else "warn", table, f"{to.name}: {answer.text}")
