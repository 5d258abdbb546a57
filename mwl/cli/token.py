"""`mwl token …`: programs that may use the REST API."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from mwl.cli import frame
from mwl.cli.user import ROLES

app = frame.app("Give programs access to the REST API, /api/v1.")

_COLUMNS = {
    "name": "name",
    "role": "role",
    "state": "state",
    "created_at": "since",
    "expires_at": "until",
    "used_at": "used last",
}


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for: ris-export, say.")],
    role: Annotated[str, typer.Option(metavar="ROLE", help=f"Needed: {ROLES}.")] = "",
    days: Annotated[
        int | None, typer.Option(metavar="N", help="It expires after so many; without: never.")
    ] = None,
) -> None:
    """Make a bearer token and print it, once: the database keeps only its hash.

    A program sends it with every request: `Authorization: Bearer TOKEN`. What the roles
    may do, `mwl user add --help` tells.
    """
    from mwl.accounts import keeping

    given, now, actor = keeping.role_named(role), frame.now(), frame.actor()
    with frame.database(frame.settings(context)) as database:
        token = database.write(
            lambda session: keeping.issue_token(session, actor, name, given, days=days, now=now)
        )
    typer.echo(token)


@app.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the tokens, without what proves anything."""
    from mwl import accounts

    now = frame.now()
    with frame.database(frame.settings(context)) as database, database.read() as session:
        rows = [_entry(row, now) for row in accounts.list_tokens(session)]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        frame.print_table(_COLUMNS, rows)


@app.command()
def remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `mwl token list` shows it.")],
) -> None:
    """Remove a token: it opens nothing from then on."""
    from mwl.accounts import keeping

    now, actor = frame.now(), frame.actor()
    with frame.database(frame.settings(context)) as database:
        database.write(lambda session: keeping.revoke_token(session, actor, name, now=now))
    typer.echo(f"removed: {name}")


def _entry(row: Any, now: datetime) -> dict[str, Any]:
    from mwl.accounts import is_expired

    return {
        "name": row.name,
        "role": row.role,
        "state": "expired" if is_expired(row, now=now) else "good",
        "created_at": frame.instant(row.created_at),
        "expires_at": frame.instant(row.expires_at),
        "used_at": frame.instant(row.used_at),
    }
