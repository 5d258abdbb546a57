"""From settings to a running program: the database made ready, ports bound, roles forked."""

import gc
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from mwl import accounts, devices
from mwl.config import Listener, Settings, Tls
from mwl.db import Database
from mwl.db.migrate import upgrade, wait_for_revision
from mwl.errors import ConfigError
from mwl.listeners import FURTHER_HL7, Listeners, needed
from mwl.roles import dicom, hl7, jobs, web
from mwl.roles.profiles import mapping_profiles
from mwl.roles.secured import hl7_keys_of, keys_of, look_after
from mwl.supervisor import Board, Child, Role, Supervisor

log = structlog.get_logger(__name__)

ROLES = ("dicom", "hl7", "web", "jobs")

_WAIT_FOR_REVISION_S = 300.0


def serve(settings: Settings, names: Sequence[str], announce: Callable[[str], None]) -> int:
    """Serve the roles `names`, or all, until a signal comes; give the exit code.

    Whoever runs `jobs` migrates the database; the other roles wait until that is done.
    `announce` is given a text for people once everything serves. Raises ConfigError, Outage.
    """
    chosen = [name for name in ROLES if name in names or not names]
    mapping_profiles(settings)  # before anything is made or served in vain
    look_after(keys_of(settings), hl7_keys_of(settings))
    make_data_dir(settings.data_dir)
    with closing(Listeners(settings, needed(settings, chosen))) as listeners:
        processes = [name for name in chosen for _ in range(_count(settings, name))]
        board = Board(processes)
        roles = [
            Role(name, partial(_RUNNERS[name], settings, listeners, board), name in _RENEW)
            for name in processes
        ]
        supervisor = Supervisor(roles, board, lambda: announce(banner(settings, listeners)))
        ready = partial(prepare, settings, migrate="jobs" in chosen, announce=announce)
        # What a fork shares stays shared until somebody writes to it, and the collector
        # writes to whatever it looks at.
        gc.collect()
        gc.freeze()
        # An order makes some thousand objects and no cycles: looking for them every 700
        # took a tenth of the intake's time.
        gc.set_threshold(50_000, 20, 100)
        return supervisor.run(ready, listeners.close)


def make_data_dir(path: Path) -> None:
    """Create the data directory, for our eyes only, if it isn't there. Raises ConfigError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data_dir: {path}: can't be created: {error.strerror}") from None


def prepare(settings: Settings, *, migrate: bool, announce: Callable[[str], None]) -> None:
    """Make the database ready, and the devices of the settings known in it.

    Where there is no account yet it makes one, and announces its password.
    """
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
        password = database.write(lambda session: accounts.first_admin(session, now=now))
    if password:
        announce(
            f"The web pages have one account now: admin, password {password}\n"
            "It is told this once; it is changed at the first sign-in."
        )


def banner(settings: Settings, listeners: Listeners) -> str:
    """Say for people what listens where, and on what it works."""
    lines = [
        ("DICOM", _where(listeners, "dicom", f"AE title {settings.dicom.ae_title}")),
        ("  TLS", _where(listeners, "dicom.tls", _client(settings.dicom.tls))),
        ("HL7", _where(listeners, "hl7", "MLLP")),
        ("  TLS", _where(listeners, "hl7.tls", _client(settings.hl7.tls))),
        *(
            (f"  {each.name}", _further(settings, listeners, each))
            for each in settings.hl7.listener
        ),
        ("web", _where(listeners, "web", "http, sign in there")),
        ("database", settings.database.shown),
        ("data", str(settings.data_dir.absolute())),
    ]
    rows = [f"  {name:<9} {text}" for name, text in lines if text]
    return "\n".join(["mwl is serving; Ctrl-C ends it", *rows])


def _where(listeners: Listeners, role: str, remark: str) -> str:
    address = listeners.address(role)
    return f"{address[0]}:{address[1]}  {remark}" if address else ""


def _further(settings: Settings, listeners: Listeners, given: Listener) -> str:
    how = f"MLLP over TLS, {_client(settings.hl7.tls)}" if given.tls else "MLLP"
    by = f", profile {given.profile}" if given.profile else ""
    return _where(listeners, f"{FURTHER_HL7}{given.name}", f"{how}{by}")


def _client(tls: Tls) -> str:
    asks = {"none": "asks for no certificate", "optional": "certificate optional"}
    return asks.get(tls.client, "certificate required")


def _count(settings: Settings, role: str) -> int:
    return settings.dicom.processes if role == "dicom" else 1


_RENEW = frozenset({"dicom", "hl7", "jobs"})  # these read certificates anew by SIGHUP
_RUNNERS: dict[str, Callable[[Settings, Listeners, Board, Child], None]] = {
    "dicom": dicom.run,
    "hl7": hl7.run,
    "web": web.run,
    "jobs": jobs.run,
}
