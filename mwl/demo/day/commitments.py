"""Storage commitment on the day: told at once, told later, taken badly, and told to nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from mwl.demo.scanner import COMMITMENT
from mwl.demo.stage import Stage
from mwl.demo.stations import STATIONS


class Listening:
    """A scanner's own port, to be told of storage commitment; it takes the first report only."""

    def __init__(self) -> None:
        self.asked, self.answered = 0, 0
        self.port = 0

    def take(self, _event: Any) -> tuple[int, None]:
        """Answer a report; the second one is of a transaction that it has forgotten."""
        self.answered += 1
        return (0x0000 if self.answered == 1 else 0x0112), None

    def has_answered(self) -> bool:
        return self.answered >= self.asked


@contextmanager
def listening(ae_title: str) -> Iterator[Listening]:
    """Listen as a scanner, for reports on associations that the server opens."""
    ear, entity = Listening(), AE(ae_title=ae_title)
    entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, ear.take)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    assert server.socket is not None
    ear.port = server.socket.getsockname()[1]
    try:
        yield ear
    finally:
        server.shutdown()


def commit(stage: Stage, done: dict[str, list[Dataset]], ear: Listening) -> None:
    """Have images committed: told at once, told later, taken badly, and told to nobody."""
    by_modality: dict[str, list[list[Dataset]]] = {}
    for made in done.values():
        by_modality.setdefault(made[0].Modality, []).append(made)
    ct, mr, us = (stage.scanner(STATIONS[each]) for each in ("CT", "MR", "US"))
    with stage.step(ct.ae_title, "storage commitment, told at once") as came:
        came.append(f"{ct.commit(by_modality['CT'][1]).kept} kept")
    with stage.step(mr.ae_title, "storage commitment, told at its own port"):
        for made in by_modality["MR"]:
            mr.ask_commitment(made)
            ear.asked += 1
    with stage.step(us.ae_title, "storage commitment, told where nobody hears"):
        us.ask_commitment(by_modality["US"][0])
