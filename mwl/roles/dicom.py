"""The role `dicom`: scanners find their patients, tell of their work, and send images."""

from collections.abc import Callable
from datetime import timedelta

from mwl import dataset, devices
from mwl.accounts import Users
from mwl.config import May, Settings
from mwl.db import Database
from mwl.listeners import Listeners
from mwl.net.limits import Limits
from mwl.net.server import AssociationServer
from mwl.net.service import Service
from mwl.objects import open_store
from mwl.roles.door import admission
from mwl.roles.following import effects
from mwl.roles.telling import publisher
from mwl.scp.commitment import CommitmentService
from mwl.scp.echo import EchoService
from mwl.scp.guarded import Guarded
from mwl.scp.mpps import MppsRetrieveService, MppsService
from mwl.scp.query import QueryService
from mwl.scp.retrieve import RetrieveService
from mwl.scp.storage import StorageService
from mwl.scp.worklist import WorklistService
from mwl.sightings import Lookout
from mwl.supervisor import DRAIN_S, Board, Child


def run(settings: Settings, listeners: Listeners, _board: Board, child: Child) -> None:
    """Serve associations until SIGTERM."""
    listener = listeners.take("dicom")
    given = settings.dicom
    database = Database(settings.database.url, data_dir=settings.data_dir)
    doorkeeper = devices.Doorkeeper(
        database, ae_title=given.ae_title, mode=given.admit, host=given.host
    )

    lookout = Lookout(database)

    def guarded(service: Service, what: May) -> Service:
        return Guarded(service, lambda calling: doorkeeper.allows(calling, what))

    server = AssociationServer(
        listener,
        [EchoService(), *_services(settings, database, lookout, guarded)],
        admit=admission(doorkeeper, Users(database, given.user_identity)),
        limits=_limits(settings),
    )
    telling = publisher(server, database, child.slot)
    doorkeeper.start()
    lookout.start()
    telling.start()
    server.start()
    child.ready()
    child.wait()
    server.stop(DRAIN_S)
    telling.stop()
    doorkeeper.stop()
    lookout.stop()
    database.close()


def _services(
    settings: Settings,
    database: Database,
    lookout: Lookout,
    guarded: Callable[[Service, May], Service],
) -> list[Service]:
    zone, objects = settings.site.zone_info, open_store(settings.archive, settings.data_dir)
    storage = StorageService(database, objects, settings.archive.private_classes)
    kept = dict.fromkeys(storage.abstract_syntaxes, storage.transfer_syntaxes)
    wait = timedelta(minutes=settings.commit.wait_min)
    return [
        guarded(WorklistService(database, zone, lookout.note), "worklist"),
        guarded(MppsService(database, effects(settings)), "mpps"),
        guarded(MppsRetrieveService(database), "mpps"),
        guarded(storage, "store"),
        guarded(CommitmentService(database, wait), "commit"),
        guarded(QueryService(database, zone), "query"),
        guarded(RetrieveService(database, objects, kept), "retrieve"),
    ]


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
