"""`mwl serve`: run it all."""

import sys
from typing import Annotated

import typer

from mwl.cli import frame

_ROLES = ("dicom", "hl7", "web", "jobs")


def serve(
    context: typer.Context,
    roles: Annotated[
        list[str] | None,
        typer.Argument(metavar="ROLE", help="Some of: dicom, hl7, web, jobs; without: all."),
    ] = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM: orders in over HL7, worklists out over DICOM.

    A process for each role is kept alive. Who runs `jobs` creates or migrates the database;
    `mwl serve dicom`, on another host or in a container, waits until that is done. Log
    lines go to standard error.
    """
    for role in roles or ():
        if role not in _ROLES:
            frame.refuse(f"serve {role}: no such role; there are {', '.join(_ROLES)}")
    given = frame.settings(context)
    from mwl import logs, packages

    packages.check()
    logs.configure(given.log.level, as_json=given.log.format == "json")
    from mwl import app

    code = app.serve(given, roles or [], _announce)
    if code:
        raise typer.Exit(code)


def _announce(text: str) -> None:
    from mwl.logs import Forgiving

    stream = Forgiving(sys.stdout)
    stream.write(f"{text}\n")
    stream.flush()
