"""`mwl verify`: hold the archive's index against the bytes that are there."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from rich.progress import Progress

    from mwl.verify import Finding, Tally

_REFRESH_S = 0.25


def verify(
    context: typer.Context,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every image and hash it again; this takes long.")
    ] = False,
    remove: Annotated[
        bool,
        typer.Option(
            "--remove-unreferenced",
            help="Remove what no row of the index names: nobody was told that it is kept.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, the last one the sum.")
    ] = False,
) -> None:
    """Look whether every image of the index is there, and every one there is in the index.

    Each image that is missing, has another length, can't be read or, with --deep, has other
    bytes is named, and so is what no row of the index names. An image younger than an hour
    that no row names is on its way, perhaps, and not wrong. An older one is what is left of
    a C-STORE that was not answered with success; nothing is changed unless it is to be
    removed. The exit code is 1 if anything is wrong.
    """
    given = frame.settings(context)
    from mwl import verify as service
    from mwl.objects import open_store

    tell = _tell_json if as_json else _tell
    objects, tally, found = open_store(given.archive, given.data_dir), service.Tally(), _Sum()
    with frame.database(given) as database:
        with database.read() as session:
            rows, size = service.extent(session)
        looked = service.findings(database, objects, deep=deep, now=frame.now(), tally=tally)
        # Closed at once where it is interrupted: threads read for it.
        with closing(looked), _bar(tally, rows, size if deep else 0) as aside:
            for each in looked:
                finding = service.cleared(objects, each) if remove else each
                found.add(finding)
                with aside():
                    tell(finding)
    _tell_sum(as_json, deep, tally, found)
    if found.wrong:
        raise typer.Exit(frame.FAILED)


class _Sum:
    """How many are wrong, how many on their way, and how many were removed."""

    def __init__(self) -> None:
        self.wrong = self.on_their_way = self.removed = 0

    def add(self, finding: "Finding") -> None:
        is_removed = finding.problem == "removed"
        self.wrong += finding.is_wrong
        self.removed += is_removed
        self.on_their_way += not (finding.is_wrong or is_removed)


def _tell(finding: "Finding") -> None:
    mark = "WRONG" if finding.is_wrong else "note "
    subject = finding.sop_instance_uid or "-"
    typer.echo(f"{mark}  {finding.problem:<12}  {finding.key}  {subject}  {finding.text}")


def _tell_json(finding: "Finding") -> None:
    entry = {
        "problem": finding.problem,
        "wrong": finding.is_wrong,
        "key": finding.key,
        "sop_instance_uid": finding.sop_instance_uid,
        "text": finding.text,
    }
    typer.echo(json.dumps(entry, ensure_ascii=False))


def _tell_sum(as_json: bool, deep: bool, tally: "Tally", found: _Sum) -> None:
    if as_json:
        entry = {
            "indexed": tally.rows,
            "stored": tally.keys,
            "bytes_read": tally.bytes_read,
            "deep": deep,
            "wrong": found.wrong,
            "on_their_way": found.on_their_way,
            "removed": found.removed,
        }
        typer.echo(json.dumps(entry))
        return
    way = f", {found.on_their_way} on their way" if found.on_their_way else ""
    way += f", {found.removed:,} removed" if found.removed else ""
    how = f"read again ({tally.bytes_read:,} bytes)" if deep else "looked for"
    typer.echo(
        f"{tally.rows:,} images of the index {how}, {tally.keys:,} in the store: "
        f"{f'{found.wrong:,} wrong' if found.wrong else 'all well'}{way}"
    )


@contextmanager
def _bar(
    tally: "Tally", rows: int, size: int
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Show how far it has come, where somebody watches; give what makes room for a line."""
    if not sys.stderr.isatty():
        yield nullcontext
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        stop = _follow(progress, tally, rows, size)
        try:
            yield lambda: _aside(progress)
        finally:
            stop()


@contextmanager
def _aside(progress: "Progress") -> Iterator[None]:
    progress.stop()
    try:
        yield
    finally:
        progress.start()


def _follow(progress: "Progress", tally: "Tally", rows: int, size: int) -> Callable[[], None]:
    """Move the bars, as threads count; returns what ends that."""
    index = progress.add_task("index", total=size or rows)
    store = progress.add_task("store", total=rows)
    done = threading.Event()

    def follow() -> None:
        while not done.wait(_REFRESH_S):
            progress.update(index, completed=tally.bytes_read if size else tally.rows)
            progress.update(store, completed=tally.keys)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join()

    return stop
