"""`mwl user …`: who may sign in to the web pages."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from mwl.cli import frame

app = frame.app("Say who may sign in to the web pages, and with which role.")

ROLES = "viewer, technologist, admin"  # accounts.Role, whose import costs 0.1 s

_COLUMNS = {
    "name": "name",
    "role": "role",
    "state": "state",
    "created_at": "since",
    "signed_in_at": "signed in last",
}
_Name = Annotated[str, typer.Argument(metavar="NAME", help="As `mwl user list` shows it.")]


@app.command()
def add(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What the person types to sign in, in any case.")
    ],
    role: Annotated[str, typer.Option(metavar="ROLE", help=f"Needed: {ROLES}.")] = "",
) -> None:
    """Make an account, and print its first password, once.

    A viewer looks; a technologist also keeps the worklist, links images and closes orders;
    an admin also keeps devices, messages, accounts and tokens, and reads the audit trail.
    """
    from mwl.accounts import keeping

    given, now, actor = keeping.role_named(role), frame.now(), frame.actor()
    with frame.database(frame.settings(context)) as database:
        password = database.write(
            lambda session: keeping.add_user(session, actor, name, given, now=now)
        )
    _tell(name, password)


@app.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the accounts."""
    from mwl import accounts

    now = frame.now()
    with frame.database(frame.settings(context)) as database, database.read() as session:
        rows = [_entry(row, now) for row in accounts.listing(session)]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        frame.print_table(_COLUMNS, rows)


@app.command()
def reset(context: typer.Context, name: _Name) -> None:
    """Print a new password for an account, once, and let it in if it was locked or disabled.

    It is signed out wherever it is signed in.
    """
    from mwl.accounts import keeping

    now, actor = frame.now(), frame.actor()
    with frame.database(frame.settings(context)) as database:
        password = database.write(lambda session: keeping.reset_user(session, actor, name, now=now))
    _tell(name, password)


@app.command()
def disable(context: typer.Context, name: _Name) -> None:
    """Let an account sign in no more, and end its sessions; `reset` lets it in again."""
    from mwl.accounts import fold, keeping

    now, actor = frame.now(), frame.actor()
    with frame.database(frame.settings(context)) as database:
        database.write(lambda session: keeping.disable_user(session, actor, name, now=now))
    typer.echo(f"disabled: {fold(name)}")


def _tell(name: str, password: str) -> None:
    from mwl.accounts import fold

    typer.echo(f"{fold(name)}: password {password}")
    typer.echo("It is told this once; it is changed at the first sign-in.")


def _entry(row: Any, now: datetime) -> dict[str, Any]:
    from mwl.accounts import state

    return {
        "name": row.name,
        "role": row.role,
        "state": state(row, now=now),
        "created_at": frame.instant(row.created_at),
        "signed_in_at": frame.instant(row.signed_in_at),
    }
