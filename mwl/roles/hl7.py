"""The role `hl7`: orders come in over MLLP."""

from collections.abc import Sequence
from functools import partial
from socket import socket
from threading import Thread

from hl7.inbound import Inbound
from hl7.server import Limits, MllpServer
from mwl.config import Settings
from mwl.db import Database
from mwl.listeners import Listeners
from mwl.memory import return_large_blocks
from mwl.outbox import Forwards
from mwl.roles.following import effects
from mwl.roles.profiles import mapping_profiles
from mwl.roles.secured import hl7_keys_of, renew
from mwl.supervisor import DRAIN_S, Board, Child
from mwl.tls import Keys

# A sender waits for its answer: one attempt must leave time for others.
_ATTEMPTS = 4
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0


def run(settings: Settings, listeners: Listeners, _board: Board, child: Child) -> None:
    """Take messages until SIGTERM."""
    return_large_blocks()
    first, keys = listeners.take("hl7"), hl7_keys_of(settings)
    given = settings.hl7
    wait_s = max(_SHORTEST_WAIT_S, min(given.ack_timeout_s / _ATTEMPTS, _LONGEST_WAIT_S))
    database = Database(settings.database.url, data_dir=settings.data_dir, wait_s=wait_s)
    inbound = Inbound(
        database,
        mapping_profiles(settings),
        told=effects(settings).told,
        forwards=Forwards.of(given.forward),
        ack_timeout_s=given.ack_timeout_s,
        original_mode=in_original_mode(settings),
        refuses_when_out=given.outage == "AR",
    )
    limits = _limits(settings)

    def server(listener: socket, name: str, keys: Keys | None) -> MllpServer:
        handle = partial(inbound.receive, listener=name)
        refuse = partial(inbound.refuse, listener=name)
        return MllpServer(listener, handle, limits, refuse=refuse, keys=keys)

    servers = [server(first, "", None)]
    if (over_tls := listeners.over_tls("hl7")) is not None:
        servers.append(server(over_tls, "", keys))
    tables, further = {each.name: each for each in given.listener}, listeners.further()
    servers += [
        server(each, name, keys if tables[name].tls else None) for name, each in further.items()
    ]
    for each in servers:
        each.start()
    child.ready()
    child.wait(partial(renew, keys))
    listeners.close()
    _stop(servers)
    database.close()


def _stop(servers: Sequence[MllpServer]) -> None:
    """End all at once: the time to drain is one for all."""
    threads = [Thread(target=each.stop, args=(DRAIN_S,)) for each in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_original_mode(settings: Settings) -> frozenset[str]:
    """Name the listeners that answer by MSA alone, whatever MSH-15 and MSH-16 say."""
    given = settings.hl7
    asked = {"": given.acknowledge} | {
        each.name: each.acknowledge or given.acknowledge for each in given.listener
    }
    return frozenset(name for name, mode in asked.items() if mode == "original")


def _limits(settings: Settings) -> Limits:
    given = settings.hl7
    return Limits(
        max_message_bytes=given.max_message_bytes,
        max_connections=given.max_connections,
        max_connections_per_address=given.max_connections_per_address,
        idle_timeout_s=given.idle_timeout_s,
        message_timeout_s=given.message_timeout_s,
    )
