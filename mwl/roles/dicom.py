"""The role `dicom`: scanners find their patients, tell of their work, and send images."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from mwl import dataset, devices
from mwl.accounts import Users
from mwl.config import May, Settings
from mwl.db import Database
from mwl.db.tables import Device
from mwl.listeners import Listeners
from mwl.net.limits import Limits
from mwl.net.server import AssociationServer, TlsListener
from mwl.net.service import Service
from mwl.objects import open_store
from mwl.pictures import Decoder
from mwl.roles.door import admission
from mwl.roles.following import effects
from mwl.roles.secured import keys_of, renew
from mwl.roles.telling import publisher
from mwl.scp.commitment import CommitmentService
from mwl.scp.echo import EchoService
from mwl.scp.guarded import Guarded
from mwl.scp.mpps import MppsRetrieveService, MppsService
from mwl.scp.query import QueryService
from mwl.scp.retrieve import MoveService, RetrieveService
from mwl.scp.storage import StorageService
from mwl.scp.worklist import WorklistService
from mwl.scu import Peer
from mwl.sightings import Lookout
from mwl.sockets import Stream
from mwl.supervisor import DRAIN_S, Board, Child
from mwl.tls import Keys

_CONNECT_S = 10.0  # to a device that images are moved to


def run(settings: Settings, listeners: Listeners, _board: Board, child: Child) -> None:
    """Serve associations until SIGTERM."""
    listener = listeners.take("dicom")
    given, keys = settings.dicom, keys_of(settings)
    database = Database(settings.database.url, data_dir=settings.data_dir)
    doorkeeper = devices.Doorkeeper(
        database, ae_title=given.ae_title, mode=given.admit, host=given.host
    )

    lookout = Lookout(database)

    def call(device: Device) -> Stream:
        peer = Peer(device.ae_title, device.host, device.port, device.tls, device.certificate)
        return peer.connect(_CONNECT_S, keys)

    def guarded(service: Service, what: May) -> Service:
        return Guarded(
            service,
            lambda peer: doorkeeper.allows(peer.calling_title, what, peer.certificate),
        )

    server = AssociationServer(
        listener,
        [EchoService(), *_services(settings, database, doorkeeper, lookout, guarded, call)],
        admit=admission(doorkeeper, Users(database, given.user_identity)),
        limits=_limits(settings),
        tls=_over_tls(listeners, keys),
    )
    telling = publisher(server, database, child.slot)
    doorkeeper.start()
    lookout.start()
    telling.start()
    server.start()
    child.ready()
    child.wait(partial(renew, keys))
    server.stop(DRAIN_S)
    telling.stop()
    doorkeeper.stop()
    lookout.stop()
    database.close()


def _services(  # noqa: PLR0913 - what they need, between them
    settings: Settings,
    database: Database,
    doorkeeper: devices.Doorkeeper,
    lookout: Lookout,
    guarded: Callable[[Service, May], Service],
    call: Callable[[Device], Stream],
) -> list[Service]:
    zone, objects = settings.site.zone_info, open_store(settings.archive, settings.data_dir)
    characters = doorkeeper.characters
    private = settings.archive.private_classes
    storage = StorageService(database, objects, private, characters=characters)
    kept = dict.fromkeys(storage.abstract_syntaxes, storage.transfer_syntaxes)
    decoder = Decoder(objects)
    worklist = WorklistService(database, zone, lookout.note, device=doorkeeper.settings)
    wait = timedelta(minutes=settings.commit.wait_min)
    return [
        guarded(worklist, "worklist"),
        guarded(MppsService(database, effects(settings), characters=characters), "mpps"),
        guarded(MppsRetrieveService(database), "mpps"),
        guarded(storage, "store"),
        guarded(CommitmentService(database, wait), "commit"),
        guarded(QueryService(database, zone, characters=characters), "query"),
        guarded(RetrieveService(database, objects, kept, decoder), "retrieve"),
        guarded(MoveService(database, objects, decoder, call), "retrieve"),
    ]


def _over_tls(listeners: Listeners, keys: Keys) -> TlsListener | None:
    listener = listeners.over_tls("dicom")
    return TlsListener(listener, keys) if listener is not None else None


def _limits(settings: Settings) -> Limits:
    given = settings.dicom
    return Limits(
        max_associations=given.max_associations,
        max_associations_per_address=given.max_associations_per_address,
        associate_timeout_s=given.associate_timeout_s,
        idle_timeout_s=given.idle_timeout_s,
        # Identifiers: longer ones aren't read, and longer lists go to sinks.
        max_data_set_bytes=dataset.MAX_BYTES,
        max_streamed_bytes=settings.archive.max_instance_bytes,
    )
