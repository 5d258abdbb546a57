"""`mwl check`: look at everything that `mwl serve` needs, and say what is wrong."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from mwl.cli.finding import Finding

_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def check(context: typer.Context) -> None:
    """Look at the settings, the archive, the database, the ports and the disk; change nothing.

    Who is sent HL7 messages or MPPS, or asked for a worklist, is connected to, and sent nothing.

    Each line is ok, a WARN that a person should know of, or a FAIL that says what to do.
    The exit code is 1 if anything failed.
    """
    given = frame.settings(context)
    from mwl import logs
    from mwl.cli.checks import findings

    logs.configure("error")
    failed = False
    for finding in _told(findings(given, os.environ)):
        failed |= finding.level == "fail"
    if failed:
        raise typer.Exit(frame.FAILED)


def _told(found: Iterator["Finding"]) -> Iterator["Finding"]:
    for finding in found:
        typer.echo(f"{_MARKS[finding.level]}  {finding.subject:<14} {finding.text}")
        yield finding
