"""`mwl device import` and `export`: what is set of devices, as one file."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mwl.cli import frame
from mwl.errors import Fault, Reason, Rejected

if TYPE_CHECKING:
    from mwl.config import DeviceTable
    from mwl.devices import Difference

STREAM = "-"
_COLUMNS = {"becomes": "becomes", "ae_title": "AE title", "keys": "what is new"}


def read(file: str) -> "tuple[DeviceTable, ...]":
    """Read the devices of a file, or of stdin. Rejected."""
    from mwl.config import fleet

    try:
        if file == STREAM:
            content = sys.stdin.buffer.read(fleet.MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(fleet.MOST_BYTES + 1)
    except OSError as error:
        text = f"can't be read: {error.strerror}"
        raise Rejected(Fault(Reason.MALFORMED, file, text)) from None
    return fleet.read(content, file)


def write(file: str, devices: "list[DeviceTable]") -> None:
    """Write devices to a file, or to stdout. Rejected."""
    from mwl.config import fleet

    text = fleet.written(devices)
    if file == STREAM:
        typer.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, "utf-8")
    except OSError as error:
        text = f"can't be written: {error.strerror}"
        raise Rejected(Fault(Reason.MALFORMED, file, text)) from None


def tell(found: "list[Difference]", *, dry_run: bool) -> None:
    """Say what becomes of devices: of those that something does, each; of all, how many."""
    from mwl.devices import Becomes

    told = [each for each in found if each.becomes is not Becomes.SAME]
    if told:
        frame.print_table(
            _COLUMNS,
            (
                {
                    "becomes": each.becomes.value,
                    "ae_title": each.ae_title,
                    "keys": ", ".join(each.detail) if each.becomes is Becomes.CHANGED else "",
                }
                for each in told
            ),
        )
    counts = (f"{sum(e.becomes is kind for e in found)} {kind.value}" for kind in Becomes)
    typer.echo(f"{'would be: ' if dry_run else ''}{', '.join(counts)}")


def note_keywords(devices: "Iterable[DeviceTable]") -> None:
    """Note keywords that no attribute has: what is set by them does nothing."""
    for device in devices:
        named = {*device.worklist.defaults, *device.worklist.ignore}
        if named and (unknown := _unknown(named)):
            typer.echo(f"note: {device.ae_title}: no attribute is called {', '.join(unknown)}")


def _unknown(keywords: Iterable[str]) -> list[str]:
    from mwl.scp.attributes import tag_of

    return sorted(each for each in keywords if tag_of(each) is None)
