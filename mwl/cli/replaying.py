"""`mwl messages replay`: apply messages of the journal once more, one or many."""

import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from zoneinfo import ZoneInfo

import typer

from mwl.cli import frame
from mwl.cli.explaining import row_lines

if TYPE_CHECKING:
    from hl7.ranges import Course, Ranges, Tried
    from hl7.rehearsal import Rehearsed
    from hl7.replay import Replay
    from mwl.config import Settings
    from mwl.db import Database
    from mwl.journal import Key, Overrides, Wanted

_MOST_SHOWN = 200  # messages, and rows, of a rehearsal
_REFUSED = ("refused as before", "refused otherwise", "failed")
_FILTER = "Of many: only "


def replay(
    context: typer.Context,
    message: Annotated[
        int | None,
        typer.Argument(
            metavar="ID",
            min=1,
            max=frame.LARGEST_ID,
            help="One message, as `mwl messages list` shows it.",
        ),
    ] = None,
    state: Annotated[
        str, typer.Option(metavar="STATE", help=f"{_FILTER}those in this state, as rejected.")
    ] = "",
    source: Annotated[
        str, typer.Option(metavar="SENDER", help=f"{_FILTER}of this MSH-3^MSH-4.")
    ] = "",
    message_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help=f"{_FILTER}of this type, as ORM^O01.")
    ] = "",
    error: Annotated[
        str, typer.Option(metavar="TEXT", help=f"{_FILTER}those whose error says this.")
    ] = "",
    text: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help=f"{_FILTER}of this control ID, patient ID or accession number."
        ),
    ] = "",
    since: Annotated[
        str,
        typer.Option(metavar="WHEN", help=f"{_FILTER}from 2026-03-01 or 2026-03-01T10:30 on."),
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="WHEN", help=f"{_FILTER}those that came before that.")
    ] = "",
    after: Annotated[
        int | None,
        typer.Option(
            metavar="ID", min=1, max=frame.LARGEST_ID, help="Of many: go on behind this one."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what it would do, and do nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Of many: don't ask.")] = False,
    accepted: Annotated[
        bool,
        typer.Option("--although-accepted", help="Apply it although it was accepted before."),
    ] = False,
    older: Annotated[
        bool,
        typer.Option(
            "--although-older", help="Apply it although something newer was applied since."
        ),
    ] = False,
    same_patient: Annotated[
        bool,
        typer.Option(
            "--same-patient",
            help="Of one: its patient is who is on file, by another name and birth date.",
        ),
    ] = False,
) -> None:
    """Apply messages once more, now, as if their sender had sent them again.

    For what was refused, once its cause is mended. Nobody is answered. One by its ID; many
    by a filter, in the order they came, at most a thousand at once: it is told first what
    that would do, and asked. Ctrl-C ends it between two messages; it may be run again. The
    exit code is 1 where something was refused; it is 0 after a dry run.
    """
    from mwl.journal import Overrides, Wanted

    given = frame.settings(context)
    wanted = Wanted(
        text=text,
        source=source,
        type=message_type,
        state=state,
        error=error,
        since=_instant("--since", since, given),
        until=_instant("--until", until, given),
    )
    overrides = Overrides(accepted, older, same_patient)
    if (message is None) == (wanted == Wanted()):
        frame.refuse("name one message by its ID, or many by a filter, as --state rejected")
    if same_patient and message is None:
        frame.refuse("--same-patient is said of one message at a time, by its ID")
    with frame.database(given) as database:
        replays = _replays(given, database)
        if message is not None:
            _one(replays, message, overrides, dry_run=dry_run)
            return
        _many(database, replays, wanted, overrides, after, dry_run=dry_run, yes=yes)


def _replays(given: "Settings", database: "Database") -> "Replay":
    from hl7.intake import Intake
    from hl7.replay import Replay
    from mwl.outbox import Forwards
    from mwl.roles.following import effects
    from mwl.roles.profiles import mapping_profiles

    told, forwards = effects(given).told, Forwards.of(given.hl7.forward)
    return Replay(database, Intake(mapping_profiles(given), told=told, forwards=forwards))


def _one(replays: "Replay", message: int, overrides: "Overrides", *, dry_run: bool) -> None:
    now, who = frame.now(), frame.actor()
    if dry_run:
        told = replays.rehearse(message, who, overrides, now=now)
        typer.echo(f"message {message} would be {told.settled.state}: {told.settled.ack_code}")
        _say((told.settled.error, *told.settled.flags))
        _say_rows(told)
        return
    done = replays(message, who, overrides, now=now)
    typer.echo(f"message {done.row}: {done.state}, answer {done.ack_code}")
    _say((done.error, *done.flags))
    if done.ack_code != "AA":
        raise typer.Exit(frame.FAILED)


def _many(
    database: "Database",
    replays: "Replay",
    wanted: "Wanted",
    overrides: "Overrides",
    after: int | None,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    from hl7.ranges import Ranges

    ranges, who = Ranges(database, replays), frame.actor()
    start = _key(database, after)
    if dry_run or not yes:
        told = ranges.rehearse(wanted, who, overrides, now=frame.now(), after=start)
        _tell(told)
        if dry_run or not told.tried:
            return
        if not sys.stdin.isatty():
            frame.refuse("say --yes to apply them, or --dry-run not to")
        if not typer.confirm(f"Apply these {len(told.tried)} messages once more?"):
            raise typer.Exit(frame.FAILED)
        last = told.tried[-1]
        done = _apply(ranges, wanted, overrides, start, (last.received_at, last.message))
    else:
        done = _apply(ranges, wanted, overrides, start, None)
    typer.echo(_counted(done.counts))
    if done.after is not None:
        _say_left(done, "go on with")
    _end(done.counts)


def _apply(
    ranges: "Ranges",
    wanted: "Wanted",
    overrides: "Overrides",
    start: "Key | None",
    upto: "Key | None",
) -> "Course":
    with _interruptible() as stop:

        def tell(tried: "Tried") -> None:
            typer.echo(_told(tried))
            if stop:
                raise StopIteration

        return ranges.apply(
            wanted, frame.actor(), overrides, clock=frame.now, after=start, upto=upto, tell=tell
        )


@contextmanager
def _interruptible() -> Iterator[list[bool]]:
    """Let Ctrl-C be asked for between two messages: the list holds something then."""
    stop: list[bool] = []
    before = signal.signal(signal.SIGINT, lambda *_: stop.append(True))
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(course: "Course") -> None:
    typer.echo(_counted(course.counts, "would be "))
    for each in course.tried[:_MOST_SHOWN]:
        typer.echo(f"  {_told(each)}")
    if len(course.tried) > _MOST_SHOWN:
        typer.echo(f"  … and {len(course.tried) - _MOST_SHOWN} more")
    _say_rows(course)
    if course.after is not None:
        _say_left(course, "look on with")


def _say_rows(told: "Course | Rehearsed") -> None:
    if not told.differences:
        return
    typer.echo("What would change:")
    rows = [each for each in told.differences if each.kind != "delivery"]
    for each in rows[:_MOST_SHOWN]:
        columns = [(name, *values) for name, values in each.columns.items()]
        for line in row_lines(each.kind, each.what, each.name, columns):
            typer.echo(line)
    if len(rows) > _MOST_SHOWN:
        typer.echo(f"  … and {len(rows) - _MOST_SHOWN} rows more")
    deliveries = Counter(each.name for each in told.differences if each.kind == "delivery")
    for name, count in deliveries.items():
        typer.echo(f"  {name} would be told" + (f" {count} times" if count > 1 else ""))


def _say_left(course: "Course", what: str) -> None:
    more = "more than " if course.more else ""
    last = course.tried[-1].message
    typer.echo(f"{more}{course.left} are left: {what} --after {last}")


def _told(tried: "Tried") -> str:
    replayed = f" as message {tried.row}" if tried.row else ""
    why = f": {tried.error}" if tried.error else ""
    named = f"{tried.message}  {tried.type}  {tried.control_id}"
    return f"{named}  {tried.fate}{replayed}{why}"


def _counted(counts: Mapping[str, int], would: str = "") -> str:
    total = sum(counts.values())
    if not total:
        return "no message answers to that"
    told = ", ".join(f"{count} {would}{fate}" for fate, count in counts.items())
    return f"{total} message{'s' if total > 1 else ''}: {told}"


def _say(texts: Sequence[str]) -> None:
    for text in filter(None, texts):
        typer.echo(f"  {text}")


def _end(counts: Mapping[str, int]) -> NoReturn:
    raise typer.Exit(frame.FAILED if any(counts.get(fate) for fate in _REFUSED) else frame.DONE)


def _key(database: "Database", message: int | None) -> "Key | None":
    from mwl import journal

    if message is None:
        return None
    with database.read() as session:
        row: Any = journal.kept(session, message, 1).row
    return row.received_at, row.id


def _instant(option: str, text: str, given: "Settings") -> datetime | None:
    """Read a day or an instant of the site's clock."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        frame.refuse(f"{option} {text}: write a day or an instant, as 2026-03-01T10:30")
    zone: ZoneInfo = given.site.zone_info
    return found if found.tzinfo else found.replace(tzinfo=zone)
