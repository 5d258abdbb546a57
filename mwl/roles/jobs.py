"""The role `jobs`: what is done by the clock, what others are told, what is judged."""

from functools import partial

from hl7.outbound import Forwarder, OrderStatus
from mwl import commitment, jobs, outbox
from mwl.accounts import Bounds
from mwl.config import Settings
from mwl.db import Database
from mwl.listeners import Listeners
from mwl.objects import open_store
from mwl.roles import worklists
from mwl.roles.following import close_rules, effects
from mwl.roles.secured import hl7_keys_of, keys_of, renew
from mwl.scp.mpps import passed_on
from mwl.scp.storage.syntaxes import STORAGE_CLASSES
from mwl.scu import CommitmentReporter, MppsForwarder
from mwl.supervisor import DRAIN_S, Board, Child


def run(settings: Settings, listeners: Listeners, _board: Board, child: Child) -> None:
    """Work until SIGTERM."""
    listeners.close()
    database = Database(settings.database.url, data_dir=settings.data_dir)
    bounds, keys, hl7_keys = Bounds.of(settings.web), keys_of(settings), hl7_keys_of(settings)
    sweeps = jobs.sweeps(
        database, close_rules(settings), effects(settings), bounds, settings.journal
    )
    sweeps.append(jobs.clearing(database, settings.worklist))
    fetchers = worklists.fetchers(settings, database, keys)
    sweeps += worklists.sweeps(settings, database, fetchers)
    scheduler = jobs.scheduler(database, sweeps)
    statuses = OrderStatus(
        settings.hl7.destination,
        settings.site.zone_info,
        application=settings.dicom.ae_title,
        keys=hl7_keys,
    )
    forwarder = Forwarder(settings.hl7.forward, keys=hl7_keys)
    performed = MppsForwarder(
        settings.mpps.forward, database, passed_on, calling=settings.dicom.ae_title, keys=keys
    )
    courier = outbox.Courier(
        database,
        {
            outbox.Kind.ORDER_STATUS: statuses.deliver,
            outbox.Kind.FORWARD: forwarder.deliver,
            outbox.Kind.COMMITMENT_REPORT: CommitmentReporter(database, keys=keys),
            outbox.Kind.MPPS: performed.deliver,
        },
    )
    objects = open_store(settings.archive, settings.data_dir)
    taken = {*STORAGE_CLASSES, *settings.archive.private_classes}
    commitments = commitment.Worker(database, objects, taken.__contains__)
    scheduler.start()
    courier.start()
    commitments.start()
    child.ready()
    child.wait(partial(renew, keys, hl7_keys))
    for fetcher in fetchers:
        fetcher.stop()
    commitments.stop(DRAIN_S)
    courier.stop(DRAIN_S)
    statuses.close()
    forwarder.close()
    scheduler.shutdown()  # waits for a job that is running
    database.close()
