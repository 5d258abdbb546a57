"""How far something long has come: a bar where somebody watches, else a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LINE_EVERY_S = 10.0
_LOOK_EVERY_S = 0.1


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Tell on stderr how many of `total` are done; gives what is to be called with that.

    None: nobody knows how many there are.
    """
    if not sys.stderr.isatty():
        yield _lines(what, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), Left()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield _now_and_then(lambda done: progress.update(task, completed=done), _LOOK_EVERY_S)


def _lines(what: str, total: int | None) -> Callable[[int], None]:
    began = time.monotonic()

    def tell(done: int) -> None:
        rate = done / max(time.monotonic() - began, 1e-3)
        of = "" if total is None else f" of {total:,}"
        print(f"{what}: {done:,}{of} ({rate:,.0f}/s)", file=sys.stderr, flush=True)

    return _now_and_then(tell, _LINE_EVERY_S)


def _now_and_then(tell: Callable[[int], None], every_s: float) -> Callable[[int], None]:
    due = time.monotonic() + every_s

    def count(done: int) -> None:
        nonlocal due
        if (now := time.monotonic()) >= due:
            due = now + every_s
            tell(done)

    return count
