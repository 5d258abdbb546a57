"""Run the benchmarks: `python -m tests.bench [NAME …]`.

Each prints its figures as they come. The exit code is 1 where a figure misses its bound.
"""

import sys
import time
from importlib import import_module

NAMES = ("mapping", "association", "answers", "query", "orders")


def main(names: list[str]) -> int:
    if unknown := sorted(set(names) - set(NAMES)):
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}")
        return 2
    missed = 0
    for name in names or NAMES:
        began = time.monotonic()
        for result in import_module(f"tests.bench.bench_{name}").run():
            print(result, flush=True)
            missed += not result.met
        print(f"      ({name}: {time.monotonic() - began:.0f} s)", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
