"""The role `web`: the web application, in workers of granian's."""

import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from threading import Thread

from flask import Flask
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

import web
from hl7.intake import Intake
from hl7.outline import outline
from hl7.ranges import Ranges
from hl7.replay import Replay
from mwl.config import Settings
from mwl.db import Database
from mwl.db.tables import Device
from mwl.devices import Answer
from mwl.errors import ConfigError
from mwl.lifeline import Lifeline, name_process
from mwl.listeners import Listeners
from mwl.objects import open_store
from mwl.outbox import Forwards
from mwl.pictures import Pictures
from mwl.roles import explaining
from mwl.roles.following import close_rules, effects
from mwl.roles.profiles import mapping_profiles
from mwl.roles.reaching import reach
from mwl.roles.secured import keys_of
from mwl.scp.trying import see
from mwl.scu import Peer, echo
from mwl.supervisor import DRAIN_S, Board, Child
from web.wiring import Tools, Wiring

_BLOCKING_THREADS = 8  # of each process
_START_S = 30.0


def run(settings: Settings, listeners: Listeners, board: Board, child: Child) -> None:
    """Serve HTTP until SIGTERM."""
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
        return web.create_app(wiring(settings, database, partial(_servers, board)))

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


def wiring(
    settings: Settings, database: Database, serving: Callable[[], Mapping[str, bool]]
) -> Wiring:
    """Give the pages what they work on."""
    objects = open_store(settings.archive, settings.data_dir)
    profiles, following = mapping_profiles(settings), effects(settings)
    forwards = Forwards.of(settings.hl7.forward)
    replay = Replay(database, Intake(profiles, told=following.told, forwards=forwards))
    explainers = explaining.Explainers(settings, database, profiles)
    return Wiring(
        database=database,
        settings=settings,
        objects=objects,
        pictures=Pictures(objects),
        effects=following,
        close=close_rules(settings),
        tools=Tools(
            echo=partial(_echo, settings),
            reach=partial(reach, settings),
            outline=lambda raw, listener="": outline(raw, profiles.charset_of(raw, listener)),
            replay=lambda message, who, overrides, now: replay(message, who, overrides, now=now),
            rehearse=lambda message, who, overrides, now: replay.rehearse(
                message, who, overrides, now=now
            ),
            ranges=Ranges(database, replay),
            explain=explainers,
            explain_kept=explainers.kept,
            profiles=partial(explaining.names, settings),
            see=partial(see, database, settings),
        ),
        serving=serving,
    )


def _echo(settings: Settings, device: Device) -> Answer:
    try:
        # Read for each test: it is rare, and certificates may be new ones.
        keys = keys_of(settings) if device.tls else None
    except ConfigError as error:
        return Answer(False, str(error))
    return echo(Peer.of(device), settings.dicom.ae_title, keys=keys)


def _servers(board: Board) -> dict[str, bool]:
    """Tell which of the roles that peers need are up, of those that run here."""
    return {name: up for name, up in board.serving().items() if name in {"dicom", "hl7"}}


def _tell_when_listening(address: tuple[str, int], ready: Callable[[], None]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            time.sleep(0.005)
        else:
            ready()
            return
