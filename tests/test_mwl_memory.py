"""Large blocks go back to the system once they are free."""

import subprocess
import sys

import pytest

from tests.serving import PATIENCE_S

_HELD = """
import sys
from pathlib import Path
from mwl.memory import return_large_blocks

def held_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

if sys.argv[1] == "returned":
    return_large_blocks()
before = held_mb()
for megabytes in (10, 9, 8):
    block = bytearray(b"x") * (megabytes << 20)
    del block
print(held_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much is held")
def test_a_large_block_is_held_no_longer_than_it_is_used():
    done = subprocess.run(
        [sys.executable, "-c", _HELD, "returned"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert float(done.stdout) < 2
