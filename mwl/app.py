"""The one place where everything is wired: from settings to what each role runs.

Each `_run_…` is called in a process of its own, after the fork, and makes there whatever
has threads or connections.
"""

import gc
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Thread

import structlog
from flask import Flask
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

import web
from hl7 import profile
from hl7.inbound import Inbound
from hl7.outbound import OrderStatus
from hl7.server import Limits as MllpLimits
from hl7.server import MllpServer
from mwl import closing as order_closing
from mwl import commitment, devices, jobs, outbox, procedures
from mwl.config import Settings, shipped
from mwl.db import Database
from mwl.db.migrate import upgrade, wait_for_revision
from mwl.errors import ConfigError
from mwl.lifeline import Lifeline, name_process
from mwl.listeners import Listeners
from mwl.net.acceptor import Admission
from mwl.net.limits import Limits
from mwl.net.server import AssociationServer
from mwl.objects import open_store
from mwl.scp.commitment import CommitmentService
from mwl.scp.echo import EchoService
from mwl.scp.guarded import Guarded
from mwl.scp.mpps import LONGEST_MPPS_BYTES, MppsRetrieveService, MppsService
from mwl.scp.query import QueryService
from mwl.scp.retrieve import RetrieveService
from mwl.scp.storage import StorageService
from mwl.scp.storage.syntaxes import STORAGE_CLASSES
from mwl.scp.worklist import WorklistService
from mwl.scu import CommitmentReporter
from mwl.supervisor import DRAIN_S, Board, Child, Role, Supervisor

log = structlog.get_logger(__name__)

ROLES = ("dicom", "hl7", "web", "jobs")

_WAIT_FOR_REVISION_S = 300.0
_BLOCKING_THREADS = 8  # of each web process
_WEB_START_S = 30.0
# A sender waits for its answer: one attempt must leave time for others.
_ATTEMPTS = 4
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0

_ADMISSIONS = {
    devices.Verdict.ADMITTED: Admission.ACCEPTED,
    devices.Verdict.CALLED_UNKNOWN: Admission.CALLED_UNKNOWN,
    devices.Verdict.CALLING_UNKNOWN: Admission.CALLING_UNKNOWN,
}


def serve(settings: Settings, names: Sequence[str], announce: Callable[[str], None]) -> int:
    """Serve the roles `names`, or all, until a signal comes; give the exit code.

    Whoever runs `jobs` migrates the database; the other roles wait until that is done.
    `announce` is given a text for people once everything serves. Raises ConfigError, Outage.
    """
    chosen = [name for name in ROLES if name in names or not names]
    if "hl7" in chosen:
        mapping_profile(settings)  # before anything is made or served in vain
    make_data_dir(settings.data_dir)
    with closing(Listeners(settings, chosen)) as listeners:
        processes = [name for name in chosen for _ in range(_count(settings, name))]
        board = Board(processes)
        roles = [
            Role(name, partial(_RUNNERS[name], settings, listeners, board)) for name in processes
        ]
        supervisor = Supervisor(roles, board, lambda: announce(banner(settings, listeners)))
        # What a fork shares stays shared until somebody writes to it, and the collector
        # writes to whatever it looks at.
        gc.collect()
        gc.freeze()
        # An order makes some thousand objects and no cycles: looking for them every 700
        # took a tenth of the intake's time.
        gc.set_threshold(50_000, 20, 100)
        return supervisor.run(partial(prepare, settings, migrate="jobs" in chosen), listeners.close)


def make_data_dir(path: Path) -> None:
    """Create the data directory, for our eyes only, if it isn't there. Raises ConfigError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data_dir: {path}: can't be created: {error.strerror}") from None


def prepare(settings: Settings, *, migrate: bool) -> None:
    """Make the database ready, and the devices of the settings known in it."""
    url, data_dir = settings.database.url, settings.data_dir
    if migrate:
        upgrade(url, data_dir)
    with closing(Database(url, data_dir=data_dir)) as database:
        if not migrate:
            log.info("database.waiting", at_most_s=_WAIT_FOR_REVISION_S)
            wait_for_revision(database, wait_s=_WAIT_FOR_REVISION_S)
            return
        now = datetime.now(UTC)
        database.write(lambda session: devices.sync(session, settings.device, now=now))


def mapping_profile(settings: Settings) -> profile.Profile:
    """Read the profile that `hl7.profile` names. Raises ConfigError."""
    return profile.load(shipped(f"hl7/{settings.hl7.profile}.toml"))


def banner(settings: Settings, listeners: Listeners) -> str:
    """Say for people what listens where, and on what it works."""
    lines = {
        "DICOM": _where(listeners, "dicom", f"AE title {settings.dicom.ae_title}"),
        "HL7": _where(listeners, "hl7", "MLLP"),
        "web": _where(listeners, "web", "/health/ready"),
        "database": settings.database.shown,
        "data": str(settings.data_dir.absolute()),
    }
    rows = [f"  {name:<10}{text}" for name, text in lines.items() if text]
    return "\n".join(["mwl is serving; Ctrl-C ends it", *rows])


def _where(listeners: Listeners, role: str, remark: str) -> str:
    address = listeners.address(role)
    return f"{address[0]}:{address[1]}  {remark}" if address else ""


def _count(settings: Settings, role: str) -> int:
    return settings.dicom.processes if role == "dicom" else 1


def _effects(settings: Settings) -> procedures.Effects:
    """Give what follows when work is reported: who is told, and whether an order closes."""
    return order_closing.effects(settings.close, outbox.Destinations.of(settings.hl7.destination))


# --- the roles, each in its own process


def _run_dicom(settings: Settings, listeners: Listeners, _board: Board, child: Child) -> None:
    listener = listeners.take("dicom")
    given = settings.dicom
    database = Database(settings.database.url, data_dir=settings.data_dir)
    doorkeeper = devices.Doorkeeper(
        database, ae_title=given.ae_title, mode=given.admit, host=given.host
    )

    def admit(called: str, calling: str, address: str) -> Admission:
        return _ADMISSIONS[doorkeeper.admit(called, calling, address)]

    worklist = Guarded(
        WorklistService(database, settings.site.zone_info),
        lambda calling: doorkeeper.allows(calling, "worklist"),
    )
    objects = open_store(settings.archive, settings.data_dir)
    storing = StorageService(database, objects, settings.archive.private_classes)
    storage = Guarded(storing, lambda calling: doorkeeper.allows(calling, "store"))
    query = Guarded(
        QueryService(database, settings.site.zone_info),
        lambda calling: doorkeeper.allows(calling, "query"),
    )
    kept = dict.fromkeys(storing.abstract_syntaxes, storing.transfer_syntaxes)
    retrieve = Guarded(
        RetrieveService(database, objects, kept),
        lambda calling: doorkeeper.allows(calling, "retrieve"),
    )
    performing = Guarded(
        MppsService(database, _effects(settings)),
        lambda calling: doorkeeper.allows(calling, "mpps"),
    )
    performed = Guarded(
        MppsRetrieveService(database), lambda calling: doorkeeper.allows(calling, "mpps")
    )
    committing = Guarded(
        CommitmentService(database, timedelta(minutes=settings.commit.wait_min)),
        lambda calling: doorkeeper.allows(calling, "commit"),
    )
    server = AssociationServer(
        listener,
        [EchoService(), worklist, storage, query, retrieve, performing, performed, committing],
        admit=admit,
        limits=Limits(
            max_associations=given.max_associations,
            associate_timeout_s=given.associate_timeout_s,
            idle_timeout_s=given.idle_timeout_s,
            # What is kept in memory; the longest are the lists of an MPPS.
            max_data_set_bytes=LONGEST_MPPS_BYTES,
            max_streamed_bytes=settings.archive.max_instance_bytes,
        ),
    )
    doorkeeper.start()
    server.start()
    child.ready()
    child.wait()
    server.stop(DRAIN_S)
    doorkeeper.stop()
    database.close()


def _run_hl7(settings: Settings, listeners: Listeners, _board: Board, child: Child) -> None:
    listener = listeners.take("hl7")
    given = settings.hl7
    wait_s = max(_SHORTEST_WAIT_S, min(given.ack_timeout_s / _ATTEMPTS, _LONGEST_WAIT_S))
    database = Database(settings.database.url, data_dir=settings.data_dir, wait_s=wait_s)
    inbound = Inbound(
        database,
        mapping_profile(settings),
        settings.site.zone_info,
        ack_timeout_s=given.ack_timeout_s,
    )
    limits = MllpLimits(
        max_message_bytes=given.max_message_bytes,
        max_connections=given.max_connections,
        idle_timeout_s=given.idle_timeout_s,
    )
    server = MllpServer(listener, inbound.receive, limits, refuse=inbound.refuse)
    server.start()
    child.ready()
    child.wait()
    listener.close()
    server.stop(DRAIN_S)
    database.close()


def _run_web(settings: Settings, listeners: Listeners, board: Board, child: Child) -> None:
    address = listeners.address("web")
    assert address is not None
    listeners.take("web")  # bound, so that nobody else takes the port between two workers
    lifeline = Lifeline()

    def load(_target: str) -> Flask:
        """Make the application; granian calls this in each of its workers."""
        lifeline.hold()
        name_process("mwl-web-worker")
        database = Database(settings.database.url, data_dir=settings.data_dir)
        Thread(target=_tell_when_listening, args=(address, child.ready), daemon=True).start()
        return web.create_app(database, partial(_servers, board))

    child.unblock()  # granian has handlers of its own
    Granian(
        "web",
        address=address[0],
        port=address[1],
        interface=Interfaces.WSGI,
        workers=settings.web.processes,
        blocking_threads=_BLOCKING_THREADS,
        websockets=False,
        workers_kill_timeout=int(DRAIN_S),
        # It would warn of 8 threads on two cores; what matters to us is an error.
        log_level=LogLevels.error,
        log_dictconfig={"handlers": {}, "formatters": {}, "loggers": {"_granian": {}}},
    ).serve(target_loader=load)


def _servers(board: Board) -> dict[str, bool]:
    """Tell which of the roles that peers need are up, of those that run here."""
    return {name: up for name, up in board.serving().items() if name in {"dicom", "hl7"}}


def _tell_when_listening(address: tuple[str, int], ready: Callable[[], None]) -> None:
    deadline = time.monotonic() + _WEB_START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            time.sleep(0.005)
        else:
            ready()
            return


def _run_jobs(settings: Settings, listeners: Listeners, _board: Board, child: Child) -> None:
    listeners.close()
    database = Database(settings.database.url, data_dir=settings.data_dir)
    effects = _effects(settings)
    scheduler = jobs.scheduler(database, jobs.sweeps(database, settings.close, effects))
    statuses = OrderStatus(
        settings.hl7.destination, settings.site.zone_info, application=settings.dicom.ae_title
    )
    courier = outbox.Courier(
        database,
        {
            outbox.Kind.ORDER_STATUS: statuses.deliver,
            outbox.Kind.COMMITMENT_REPORT: CommitmentReporter(database),
        },
    )
    objects = open_store(settings.archive, settings.data_dir)
    taken = {*STORAGE_CLASSES, *settings.archive.private_classes}
    commitments = commitment.Worker(database, objects, taken.__contains__)
    scheduler.start()
    courier.start()
    commitments.start()
    child.ready()
    child.wait()
    commitments.stop(DRAIN_S)
    courier.stop(DRAIN_S)
    statuses.close()
    scheduler.shutdown()  # waits for a job that is running
    database.close()


_RUNNERS: dict[str, Callable[[Settings, Listeners, Board, Child], None]] = {
    "dicom": _run_dicom,
    "hl7": _run_hl7,
    "web": _run_web,
    "jobs": _run_jobs,
}
