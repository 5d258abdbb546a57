"""`mwl associations …`: what peers have open now."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from sqlmodel import Session

    from mwl.associations import Open
    from mwl.db import Database

app = frame.app("See which associations peers have open just now, and end one.")

_COLUMNS = {
    "id": "ID",
    "calling": "peer",
    "address": "address",
    "called": "called",
    "tls": "TLS",
    "since": "open since",
    "does": "does",
    "received_bytes": "bytes in",
    "sent_bytes": "bytes out",
    "messages": "messages",
    "agreed": "contexts",
    "changed_at": "active",
}
_PAGE_ROWS = 500


@app.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    peer: Annotated[
        str, typer.Option(metavar="AE_TITLE", help="Only those of this AE title.")
    ] = "",
    text: Annotated[
        str, typer.Option(metavar="TEXT", help="Only those with this in a title or the address.")
    ] = "",
) -> None:
    """List open associations, the longest first, as they were a few seconds ago."""
    with frame.database(frame.settings(context)) as database:
        rows = _rows(database, peer, text)
        if as_json:
            for row in rows:
                typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            frame.print_table(_COLUMNS, map(_shown, rows))


@app.command()
def abort(
    context: typer.Context,
    row: Annotated[
        int,
        typer.Argument(
            metavar="ID", min=1, max=frame.LARGEST_ID, help="As `mwl associations list` shows it."
        ),
    ],
) -> None:
    """End an association by A-ABORT, within seconds; its peer may come back at once."""
    from mwl import associations

    now, actor = frame.now(), frame.actor()

    def end(session: "Session") -> "Open":
        return associations.end(session, actor, row, now=now)

    with frame.database(frame.settings(context)) as database:
        ended = database.write(end)
    typer.echo(f"is aborted within seconds: {ended.calling or 'the peer'} at {ended.address}")


def _rows(database: "Database", peer: str, text: str) -> Iterator[dict[str, Any]]:
    from mwl import associations

    wanted = associations.Wanted(frame.now(), calling=peer, text=text)
    after: tuple[datetime, int] | None = None
    while True:
        with database.read() as session:
            page = associations.page(session, wanted, after=after, limit=_PAGE_ROWS)
        yield from map(_told, page)
        if len(page) < _PAGE_ROWS:
            return
        after = page[-1].since, page[-1].id


def _told(row: "Open") -> dict[str, Any]:
    times = {name: frame.instant(getattr(row, name)) for name in ("since", "changed_at")}
    return {**asdict(row), **times}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    does = "ending" if row["ending"] else row["operation"] or "rests"
    blank = "(blank)" if row["contexts"] else "(has not asked)"
    peer = row["calling"] or blank
    return {**row, "calling": peer, "does": does, "agreed": len(row["contexts"])}
