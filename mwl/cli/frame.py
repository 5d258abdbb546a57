"""What every command shares: settings, the database, and one place that ends in a line.

Exit codes: 0 done; 1 it could not be done (the text says why); 2 it was asked wrongly, or a
setting is wrong. An expected error never shows a traceback.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from mwl.cli.help import App, Group
from mwl.errors import ConfigError, MwlError, Outage, Reason, Rejected

if TYPE_CHECKING:
    from sqlmodel import Session

    from mwl.audit import Action, Actor
    from mwl.config import Settings
    from mwl.db import Database

DONE, FAILED, WRONG = 0, 1, 2
LARGEST_ID = 2**31 - 1  # of a row, in every database

# A value is at fault, whatever the state of things.
_ASKED_WRONGLY = {Reason.MISSING, Reason.MALFORMED, Reason.TOO_LONG, Reason.UNKNOWN_CODE}
_WIDE = 400  # columns of a table that no terminal shows


def app(help_text: str, examples: str = "") -> typer.Typer:
    """Make a Typer app in the house style."""
    return App(
        cls=Group,
        help=help_text,
        epilog=examples or None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def settings(context: typer.Context) -> "Settings":
    """Read the settings that `--config`, `MWL_CONFIG` and the environment give."""
    from mwl.config import load

    path: Path | None = context.find_root().obj
    return load(path, os.environ)


@contextmanager
def database(given: "Settings") -> Iterator["Database"]:
    """Open the database of a running or stopped server; Outage tells how to create it."""
    from mwl.db import Database
    from mwl.db.migrate import revision_matches

    opened = Database(given.database.url, data_dir=given.data_dir)
    if opened.path is not None and not opened.path.exists():
        raise Outage(f"there is no database at {opened.path} yet: `mwl serve` creates it")
    try:
        if not revision_matches(opened):
            raise Outage(
                "the database is not at this program's revision: `mwl serve` creates or migrates it"
            )
        yield opened
    finally:
        opened.close()


@contextmanager
def database_if_there(given: "Settings") -> Iterator["Database | None"]:
    """Open the database as `database` does; None where there is none to read yet."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(database(given))
        except Outage:
            opened = None
        yield opened


def now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def instant(at: datetime | None) -> str:
    """Write an instant in UTC, to the second; "" for none."""
    return at.isoformat(timespec="seconds") if at else ""


def person() -> str:
    """Name who asks, as far as the system knows."""
    try:
        return getuser()
    except (KeyError, OSError, ImportError):
        return "command line"


def actor() -> "Actor":
    """Tell who asks, for the audit trail."""
    from mwl.audit import Actor

    return Actor(person(), "cli")


def record(session: "Session", action: "Action", subject: str, **detail: Any) -> None:
    """Have the audit trail tell of an act, in the transaction that does it."""
    from mwl import audit

    audit.record(session, actor(), audit.Event(action, subject, detail), now=now())


def run(work: Callable[[], object]) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    try:
        work()
    except ConfigError as error:
        _end(WRONG, str(error))
    except Rejected as error:
        wrongly = all(fault.reason in _ASKED_WRONGLY for fault in error.faults)
        _end(WRONG if wrongly else FAILED, *map(str, error.faults))
    except MwlError as error:
        _end(FAILED, str(error))
    except KeyboardInterrupt:
        _end(FAILED, "interrupted")
    except BrokenPipeError:
        # Whoever read our output has seen enough (`mwl worklist list | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
    sys.exit(DONE)


def print_table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table, "none" where there are none; `columns` maps keys to headings."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        # As text: what came from outside is no markup.
        table.add_row(*(Text(_shown(row[key])) for key in columns))
    if not table.row_count:
        typer.echo("none")
        return
    console = Console()
    if not console.is_terminal:
        # Nobody wraps what goes into a file or a pipe.
        console = Console(width=_WIDE)
    console.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value or "")


def refuse(text: str) -> NoReturn:
    """End because the command was asked wrongly."""
    _end(WRONG, text)


def _end(code: int, *lines: str) -> NoReturn:
    for line in lines:
        print(f"mwl: {line}", file=sys.stderr)
    sys.exit(code)
