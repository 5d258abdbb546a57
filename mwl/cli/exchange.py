"""`mwl worklist import …`: worklists that come and go as files, or from other servers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mwl.cli import frame
from mwl.cli.progress import counting

if TYPE_CHECKING:
    from mwl.config import Settings
    from mwl.wlfiles import Report

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would come of it, and change nothing.")
]


def import_(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder of DICOM worklist files.")
    ],
    dry_run: DryRun = False,
) -> None:
    """Import a folder of worklist files as DCMTK's wlmscpfs and Orthanc keep them.

    Importing the same files again changes nothing. A file that can't be read is named, the
    others are imported, and the exit code is 1. What was imported before an interruption stays.
    """
    from mwl.wlfiles import Report

    if not path.is_dir():
        frame.refuse(f"{path}: is no folder")
    report = Report()
    done = "fit to import" if dry_run else "imported"
    try:
        _bring_in(frame.settings(context), path, report, dry_run=dry_run)
    except BaseException:  # it is interrupted, or the database is gone
        if report.seen:
            _tell(report, done)
        raise
    _tell(report, done)
    if report.failed:
        raise typer.Exit(frame.FAILED)


def _bring_in(given: "Settings", path: Path, report: "Report", *, dry_run: bool) -> None:
    from mwl.wlfiles import check_folder, count_files, import_folder

    zone = given.site.zone_info
    with counting("files", count_files(path)) as seen:
        if dry_run:
            check_folder(path, zone=zone, report=report, seen=seen)
            return
        with frame.database(given) as database:
            import_folder(database, path, now=frame.now(), zone=zone, report=report, seen=seen)


def _tell(report: "Report", done: str) -> None:
    for file, problem in report.problems:
        typer.echo(f"mwl: {file}: {problem}", err=True)
    if report.failed > len(report.problems):
        more = report.failed - len(report.problems)
        typer.echo(f"mwl: and {more:,} more that are not", err=True)
    typer.echo(f"{report.imported} {done}, {report.failed} not")
