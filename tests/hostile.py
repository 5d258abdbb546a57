"""All that speaks DICOM over a small archive, for peers that mean no good.

    bridge = Bridge(template, folder)
    server = bridge.serve(limits)
    with nothing_left(bridge, server):
        …                       # whatever a peer may think of

Behind the block no connection, thread, socket or file is left of it, the log tells of no
defect of ours, and a scanner is served as ever.
"""

import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from structlog.testing import capture_logs

from mwl.db import Database
from mwl.db.tables import StoredObject
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.server import AssociationServer, listen
from mwl.net.status import SUCCESS
from mwl.procedures import Effects
from mwl.scp.commitment import CommitmentService
from mwl.scp.echo import EchoService
from mwl.scp.mpps import MppsRetrieveService, MppsService
from mwl.scp.worklist import WorklistService
from tests.archived import ZONE, Archived
from tests.committing import register
from tests.dicom_client import DicomClient
from tests.dicom_server import admit_all
from tests.images import ct_slice
from tests.receiver import Receiver
from tests.worklist_rows import insert_items, item

PATIENCE_S = 10.0
SHORT = replace(
    DEFAULTS,
    associate_timeout_s=0.3,
    idle_timeout_s=0.3,
    pdu_timeout_s=0.3,
    response_timeout_s=0.3,
    write_timeout_s=0.3,
    close_timeout_s=0.3,
    max_associations=1000,
    max_associations_per_address=1000,
)


class Bridge:
    """A worklist of three, a study of two slices, and every service; all in `folder`.

    The device STORE takes what is moved to it.
    """

    def __init__(self, template: Path, folder: Path) -> None:
        """Begin from a copy of the migrated database `template`."""
        folder.mkdir(exist_ok=True)
        shutil.copy(template, folder / "mwl.db")
        self.database = Database(f"sqlite:///{folder / 'mwl.db'}", data_dir=folder)
        self.database.write(
            lambda session: insert_items(session, [item(number) for number in (1, 2, 3)])
        )
        self.archived = Archived(self.database, folder)
        self.archived.limits = SHORT
        self.receiver = Receiver(keeps=False)
        self.receiver.__enter__()
        register(self.database, "STORE", host="127.0.0.1", port=self.receiver.port)
        self.objects = folder / "objects"
        for number in (1, 2):
            self.archived.add(
                ct_slice(number, SOPInstanceUID=f"1.2.826.0.1.3680043.8.498.1.1.{number}")
            )

    def services(self) -> tuple[Any, ...]:
        database = self.database
        return (
            EchoService(),
            WorklistService(database, ZONE, lambda *_: None),
            MppsService(database, Effects()),
            MppsRetrieveService(database),
            CommitmentService(database, timedelta(minutes=60)),
            *self.archived.services(),
        )

    def serve(self, limits: Limits = SHORT) -> AssociationServer:
        """Serve on loopback, where little is on its way to a peer that doesn't read."""
        listener = listen("127.0.0.1", 0, limits=limits)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        server = AssociationServer(listener, self.services(), admit=admit_all, limits=limits)
        server.start()
        return server

    def close(self) -> None:
        self.receiver.__exit__()
        self.database.close()

    def kept(self) -> set[str]:
        """List what the index knows of, by key."""
        table = StoredObject.__table__  # type: ignore[attr-defined]
        with self.database.read() as session:
            return set(session.connection().execute(select(table.c.key)).scalars())

    def files(self) -> set[str]:
        """List all files in the object store's folder, whatever they are."""
        paths = (path for path in self.objects.rglob("*") if not path.is_dir())
        return {path.relative_to(self.objects).as_posix() for path in paths}


@contextmanager
def nothing_left(bridge: Bridge, server: AssociationServer) -> Iterator[list[Mapping[str, Any]]]:
    """Let the block do its worst, then see that nothing of it is left; give the log."""
    assert_serves(server)
    until(lambda: not server.live(), "the first association's end")
    before, others = descriptors(), threads(but="association")
    with capture_logs() as logs:
        yield logs
        assert_serves(server)
        until(lambda: not server.live(), f"the end of {server.live()}")
    most = server._limits.max_parked_threads
    until(lambda: not threads(but="association") - others, "other threads to end")
    until(lambda: threads()["association"] <= most, "threads to end")
    until(lambda: not descriptors() - before, f"the end of {descriptors() - before}")
    assert bridge.files() == bridge.kept()
    assert_no_defect(logs)


def assert_serves(server: AssociationServer) -> None:
    with DicomClient(server.address) as client:
        assert client.associate().echo() == SUCCESS


def assert_no_defect(logs: list[Mapping[str, Any]]) -> None:
    """See that nothing was logged that is for a programmer to read."""
    assert [line for line in logs if line["log_level"] in {"error", "critical"}] == []
    assert [line for line in logs if "exc_info" in line or "traceback" in repr(line).lower()] == []


def threads(but: str = "") -> Counter[str]:
    """Count threads by name, those of the object store's pool of hashers left out."""
    named = Counter(thread.name for thread in threading.enumerate())
    for name in ("hash", but):
        del named[name]
    return named


def descriptors() -> Counter[str]:
    """Count what is open.

    Not the database, whose pool opens and keeps what it needs, and not folders: the object
    store keeps the one that it fills, and takes the next after a thousand files.
    """
    opened: Counter[str] = Counter()
    for number in Path("/proc/self/fd").iterdir():
        try:
            target = str(number.readlink())
        except OSError:
            continue  # that of this listing
        if "mwl.db" in target or Path(target).is_dir():
            continue
        opened["socket" if target.startswith("socket:") else target] += 1
    return opened


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.002)
