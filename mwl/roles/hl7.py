"""The role `hl7`: orders come in over MLLP."""

from hl7 import profile
from hl7.inbound import Inbound
from hl7.profiles import Profiles, Rule
from hl7.server import Limits, MllpServer
from mwl.config import Settings, shipped
from mwl.db import Database
from mwl.listeners import Listeners
from mwl.roles.following import effects
from mwl.supervisor import DRAIN_S, Board, Child

# A sender waits for its answer: one attempt must leave time for others.
_ATTEMPTS = 4
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0


def mapping_profiles(settings: Settings) -> Profiles:
    """Read the profiles that the settings name. Raises ConfigError."""
    given = settings.hl7
    listeners = {each.name: each.profile for each in given.listener if each.profile}
    rules = [Rule(each.name, each.listener, each.profile) for each in given.source]
    names = {given.profile, *listeners.values(), *(rule.profile for rule in rules)}
    loaded = {name: profile.load(shipped(f"hl7/{name}.toml")) for name in sorted(names)}
    zone = settings.site.zone_info
    return Profiles(loaded, zone, given.profile, listeners=listeners, rules=rules)


def run(settings: Settings, listeners: Listeners, _board: Board, child: Child) -> None:
    """Take messages until SIGTERM."""
    listener = listeners.take("hl7")
    given = settings.hl7
    wait_s = max(_SHORTEST_WAIT_S, min(given.ack_timeout_s / _ATTEMPTS, _LONGEST_WAIT_S))
    database = Database(settings.database.url, data_dir=settings.data_dir, wait_s=wait_s)
    inbound = Inbound(
        database,
        mapping_profiles(settings),
        told=effects(settings).told,
        ack_timeout_s=given.ack_timeout_s,
    )
    limits = Limits(
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
