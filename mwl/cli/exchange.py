"""`mwl worklist import …`: worklists that come and go as files, or from other servers."""

import os
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import frame
from mwl.cli.progress import counting
from mwl.errors import Outage

if TYPE_CHECKING:
    from mwl.config import Settings
    from mwl.db import Database
    from mwl.wlfiles import Report
    from mwl.wlfiles.exporting import Exported
    from mwl.wlfiles.fetching import Fetched

_SHEET = ".csv"
_SOURCES = {
    "name": "name",
    "server": "server",
    "every_s": "every",
    "asked_at": "asked",
    "succeeded_at": "came whole",
    "counts": "then",
    "failures": "failures",
    "error": "why",
}

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would come of it, and change nothing.")
]


def import_(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A folder of DICOM worklist files, or a file of CSV."
        ),
    ],
    dry_run: DryRun = False,
) -> None:
    """Import a folder of worklist files as DCMTK's wlmscpfs and Orthanc keep them, or CSV.

    Importing the same again changes nothing. A file or a line that can't be read is named, the
    others are imported, and the exit code is 1. What was imported before an interruption stays.
    A file of CSV has names of columns in its first line, as `mwl worklist export` writes them.
    """
    from mwl.wlfiles import Report

    is_sheet = path.is_file() and path.suffix.lower() == _SHEET
    if not (is_sheet or path.is_dir()):
        frame.refuse(f"{path}: is no folder, and no file of CSV")
    report, given = Report(), _quietly(context)
    done = "fit to import" if dry_run else "imported"
    try:
        _bring_in(given, path, report, is_sheet=is_sheet, dry_run=dry_run)
    except BaseException:  # it is interrupted, or the database is gone
        if report.seen:
            _tell(report, done)
        raise
    _tell(report, done)
    if report.failed:
        raise typer.Exit(frame.FAILED)


def _quietly(context: typer.Context) -> "Settings":
    """Read the settings; what a server would log is told by the command itself."""
    from mwl import logs

    logs.configure("error")
    return frame.settings(context)


def _bring_in(
    given: "Settings", path: Path, report: "Report", *, is_sheet: bool, dry_run: bool
) -> None:
    from mwl import wlfiles

    zone, total = given.site.zone_info, None if is_sheet else wlfiles.count_files(path)
    read = wlfiles.read_sheet if is_sheet else wlfiles.read_folder
    with counting("lines" if is_sheet else "files", total) as seen:
        if dry_run:
            wlfiles.rehearse(read(path, zone=zone), report, seen)
            return
        with frame.database(given) as database:
            changes = read(path, zone=zone)
            try:
                wlfiles.bring(database, changes, report, now=frame.now(), zone=zone, seen=seen)
            finally:
                if report.seen:
                    counts = {"imported": report.imported, "refused": report.failed}
                    _record(database, "worklist", path=f"{path.absolute()}", **counts)


def _record(database: "Database", subject: str, **detail: Any) -> None:
    from mwl.audit import Action

    with suppress(Outage):  # which what came before has met, too
        database.write(lambda session: frame.record(session, Action.IMPORT, subject, **detail))


def _tell(report: "Report", done: str) -> None:
    for file, problem in report.problems:
        typer.echo(f"mwl: {file}: {problem}", err=True)
    if report.failed > len(report.problems):
        more = report.failed - len(report.problems)
        typer.echo(f"mwl: and {more:,} more that are not", err=True)
    typer.echo(f"{report.imported} {done}, {report.failed} not")


class _Format(StrEnum):
    WLMSCPFS = "wlmscpfs"
    ORTHANC = "orthanc"


def export(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Where the files are kept; or a file of CSV."),
    ],
    format_: Annotated[
        _Format, typer.Option("--format", help="Whose folder: it is named by the AE title in one.")
    ] = _Format.WLMSCPFS,
    device: Annotated[
        str, typer.Option(metavar="AE_TITLE", help="As this device would see the list.")
    ] = "",
    charset: Annotated[
        str, typer.Option(metavar="SET", help="A Specific Character Set, like ISO_IR 100.")
    ] = "",
) -> None:
    """Write a worklist file for each step that scanners would see, and keep no others of ours.

    DCMTK's wlmscpfs serves a folder for each AE title that it is called by: ours is made, with
    its lockfile. Orthanc's plugin serves the folder itself. What others keep there stays.
    To a name that ends in .csv all entries are written, one a line, whatever their state.
    """
    given = _quietly(context)
    with frame.database(given) as database:
        if path.suffix.lower() == _SHEET:
            if device or charset:
                frame.refuse("--device and --charset are for folders: CSV is all of it, in UTF-8")
            typer.echo(f"{_write_sheet(given, database, path)} lines written")
            return
        done = _keep_folder(given, database, path, format_, device, charset)
    typer.echo(f"{done.written} written, {done.unchanged} unchanged, {done.removed} removed")


def _keep_folder(
    given: "Settings",
    database: "Database",
    path: Path,
    format_: _Format,
    device: str,
    charset: str,
) -> "Exported":
    from pydantic import ValidationError

    from mwl.config import WorklistExport, describe
    from mwl.roles.worklists import target
    from mwl.wlfiles.exporting import export_folder

    try:
        asked = WorklistExport(
            folder=str(path.absolute()), format=format_.value, device=device, charset=charset
        )
    except ValidationError as error:
        fault = error.errors()[0]
        frame.refuse(f"--{fault['loc'][0]}: {describe(fault)}")
    zone = given.site.zone_info
    return export_folder(database, target(given, asked), now=frame.now(), zone=zone)


def _write_sheet(given: "Settings", database: "Database", path: Path) -> int:
    from mwl.worklist import sheets
    from mwl.worklist.browse import Wanted

    lines = sheets.written(database, Wanted(), now=frame.now(), zone=given.site.zone_info)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    count = -1  # the names of the columns are no line
    try:
        # For its owner alone: it is full of patients.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8-sig", newline="") as opened:  # noqa: PTH123
            for part in lines:
                count += part.count("\r\n")
                opened.write(part)
        beside.replace(path)
    except OSError as error:
        raise Outage(f"{path}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    return count


def sources(context: typer.Context) -> None:
    """List the worklists that are brought in, and how it goes."""
    from mwl.worklist.sources import states, troubles

    given = frame.settings(context)
    with frame.database(given) as database, database.read() as session:
        known = states(session)
    rows = []
    for each in given.worklist.source:
        row = known.get(each.name)
        rows.append(
            {
                "name": each.name,
                "server": f"{each.ae_title}@{each.host}:{each.port}",
                "every_s": f"{each.every_s:g} s",
                "asked_at": frame.instant(row.asked_at) if row else "",
                "succeeded_at": frame.instant(row.succeeded_at) if row else "",
                "counts": _counted(row.counts) if row else "",
                "failures": row.failures if row else "",
                "error": troubles(row) if row else "not asked yet",
            }
        )
    frame.print_table(_SOURCES, rows)


def fetch(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="That of a [[worklist.source]].")],
    accept_losses: Annotated[
        bool,
        typer.Option("--accept-losses", help="Cancel all that is missing, however much it is."),
    ] = False,
) -> None:
    """Ask another worklist now, and say what came of it.

    The exit code is 1 if its list did not come whole, if not all of it could be taken, or if so
    much is missing from it that nothing was cancelled.
    """
    from mwl.roles.secured import keys_of
    from mwl.roles.worklists import fetcher, named

    given = _quietly(context)
    source = named(given, name)
    keys = keys_of(given) if source.tls else None
    with frame.database(given) as database:
        fetched = fetcher(given, database, source, keys).fetch(
            frame.now(), at_once=True, accept_losses=accept_losses
        )
        assert fetched is not None
        counts = {name: count for name, count in fetched.counts.items() if count}
        _record(database, f"source:{name}", accept_losses=accept_losses, **counts)
    _tell_fetched(name, fetched)


def _tell_fetched(name: str, fetched: "Fetched") -> None:
    from mwl.worklist.sources import kept

    for problem in fetched.problems:
        typer.echo(f"mwl: {problem}", err=True)
    counted = _counted(fetched.counts)
    if counted or not fetched.error:
        typer.echo(counted or "nothing is on the list")
    if fetched.error:
        typer.echo(f"mwl: {fetched.error}", err=True)
    if fetched.losses:
        typer.echo(f"mwl: {kept(name, fetched.losses)}", err=True)
    if fetched.error or fetched.refused or fetched.losses:
        raise typer.Exit(frame.FAILED)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
