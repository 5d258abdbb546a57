"""Fuzz every target, each for its share of the time: python -m tests.fuzz [-s SECONDS] [TARGET…]

FUZZ_S is the time where nothing is said, a minute. Ends with 1 if anything was found; the
files that did it, and how to play them again, are told.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.targets import TARGETS, seeds

FOLDER = Path(".fuzz")
_LONGEST = 16 * 1024  # bytes of an input
_HANG_S = 5
_MEMORY_MB = 2048


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    seconds = float(os.environ.get("FUZZ_S", "60"))
    parser.add_argument("-s", "--seconds", type=float, default=seconds, help="in all")
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no such target: {', '.join(unknown)}")
    if importlib.util.find_spec("atheris") is None:
        print("atheris is a wheel for Linux on x86-64 and Python before 3.14 alone")
        return 2
    at_once = os.cpu_count() or 1
    share_s = max(1, round(given.seconds * min(at_once, len(names)) / len(names)))
    with ThreadPoolExecutor(at_once) as runs:
        went = list(runs.map(lambda name: _fuzzed(name, share_s), names))
    return 0 if all(went) else 1


def _fuzzed(name: str, seconds: int) -> bool:
    """Fuzz one target and tell how it went."""
    corpus, findings = FOLDER / name, FOLDER / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.one", name]
    done = subprocess.run(
        [
            *command,
            str(corpus),
            f"-max_total_time={seconds}",
            f"-max_len={_LONGEST}",
            f"-timeout={_HANG_S}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-artifact_prefix={findings}/{name}-",
            "-print_final_stats=1",
            "-verbosity=0",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stderr + done.stdout
    executed = [line.split()[-1] for line in said.splitlines() if "number_of_executed" in line]
    told = f"{name:12} {seconds} s, {executed[0] if executed else '?'} inputs"
    if done.returncode == 0:
        print(f"{told}, nothing found", flush=True)
        return True
    print(f"{told}, FOUND:\n{said[-4000:]}\nagain: {' '.join(command[1:])} FILE", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
