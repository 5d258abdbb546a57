"""Run the benchmarks: `python -m tests.bench [NAME …]`.

Each prints its figures as they come. The exit code is 1 where a figure misses its bound. Those
of ALONE are run when they are named.
"""

import statistics
import sys
import time
from importlib import import_module

NAMES = (
    "mapping",
    "association",
    "answers",
    "query",
    "worklist",
    "orders",
    "mpps",
    "index",
    "store",
    "retrieve",
    "idle",
    "pages",
    "report",
    "import",
)
ALONE = ("journal",)  # which take longer than five minutes: asked for by name


def main(names: list[str]) -> int:
    if unknown := sorted({*names} - {*NAMES, *ALONE}):
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES + ALONE)}")
        return 2
    print(f"machine: hl7apy reads a six-segment ORM in {yardstick_s() * 1e3:.1f} ms of CPU")
    missed = 0
    for name in names or NAMES:
        began = time.monotonic()
        for result in import_module(f"tests.bench.bench_{name}").run():
            print(result, flush=True)
            missed += not result.met
        print(f"      ({name}: {time.monotonic() - began:.0f} s)", flush=True)
    return 1 if missed else 0


def yardstick_s() -> float:
    """Tell how fast this machine is just now: figures a second depend on nothing so much."""
    from hl7apy.parser import parse_message

    from tests.builders import orm

    text, times = orm(), []
    for _ in range(20):
        began = time.thread_time()
        parse_message(text, find_groups=False)
        times.append(time.thread_time() - began)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
