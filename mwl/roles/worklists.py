"""Other worklists that are brought in, and folders that are kept of ours, by the settings."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial

import structlog

from mwl.config import Settings, WorklistExport, WorklistSource
from mwl.db import Database
from mwl.errors import MwlError, Outage
from mwl.jobs import Sweep
from mwl.roles.following import effects
from mwl.tls import Keys
from mwl.wlfiles.exporting import Exporter, Target
from mwl.wlfiles.fetching import Fetcher
from mwl.worklist import exports, sources

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 5.0  # whether it is a worklist's turn, which others may have had


def fetchers(settings: Settings, database: Database, keys: Keys) -> list[Fetcher]:
    """Make what asks each worklist of the settings. Raises ConfigError."""
    return [fetcher(settings, database, each, keys) for each in settings.worklist.source]


def sweeps(settings: Settings, database: Database, fetchers: Iterable[Fetcher]) -> list[Sweep]:
    """List what is done by the clock; each is alone with a peer or a disk that hangs."""
    fetching = [
        Sweep(f"fetch {each.source.name}", min(each.source.every_s, _LOOK_EVERY_S), each.sweep)
        for each in fetchers
    ]
    exporting = [
        Sweep(f"export {each.folder}", each.every_s, _Keeping(settings, database, each).run)
        for each in settings.worklist.export
    ]
    return fetching + exporting


def fetcher(
    settings: Settings, database: Database, source: WorklistSource, keys: Keys | None
) -> Fetcher:
    """Make what asks a worklist. Raises ConfigError."""
    zone, calling = settings.site.zone_info, settings.dicom.ae_title
    return Fetcher(database, source, calling, zone, effects(settings), keys)


def named(settings: Settings, name: str) -> WorklistSource:
    """Find a worklist of the settings. Raises Rejected (UNKNOWN_KEY)."""
    found = next((each for each in settings.worklist.source if each.name == name), None)
    if found is None:
        raise sources.unknown(name)
    return found


def target(settings: Settings, export: WorklistExport) -> Target:
    """Tell what is kept where."""
    folder = settings.data_dir / export.folder
    title = settings.dicom.ae_title
    return Target(folder, title, export.format, export.device, export.charset)


class _Keeping:
    """Keeps a folder fresh, and notes where a person sees it that this can't be done."""

    def __init__(self, settings: Settings, database: Database, export: WorklistExport) -> None:
        self._exporter = Exporter(database, target(settings, export), settings.site.zone_info)
        self._database, self._folder = database, export.folder
        self._is_well = False  # who knows how it went before

    def run(self, now: datetime) -> None:
        try:
            done = self._exporter.run(now)
        except Exception as error:
            self._is_well = False
            self._note(error, now)
            raise
        if not self._is_well:
            self._database.write(partial(exports.well, folder=self._folder))
        self._is_well = True
        if done.written or done.removed:
            told = {"written": done.written, "removed": done.removed}
            log.info("worklist.exported", folder=self._folder, **told)

    def _note(self, error: Exception, now: datetime) -> None:
        ours = f"an error of ours ({type(error).__name__})"
        text = str(error) if isinstance(error, MwlError) else ours
        with suppress(Outage):  # which is told of by itself
            self._database.write(partial(exports.failed, folder=self._folder, error=text, now=now))
