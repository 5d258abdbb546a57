"""The targets of `make fuzz` themselves: what is right passes, and so does what is random."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

# What fuzzing once tripped over, by target.
FOUND = [
    # A CS by what its header says, a sequence by its tag.
    ("reencoding", b"\x30\x08\x00\x60CS\x00\x00\x7f\xd7\x00\x10OW\x60\x00\x00\x00\x00\x02\x00\x00"),
]


@pytest.mark.parametrize("name", TARGETS)
def test_examples_and_what_becomes_of_them_pass(name: str) -> None:
    chance = random.Random(name)
    examples = seeds(name)
    for seed in examples:
        TARGETS[name](seed)
        for _ in range(min(100, 1_000 // len(examples))):
            changed = bytearray(seed)
            for _ in range(chance.randint(1, 4)):
                changed[chance.randrange(len(changed))] = chance.choice(
                    (0, 255, chance.randrange(256))
                )
            TARGETS[name](bytes(changed[: chance.choice((None, chance.randrange(len(changed))))]))


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_passes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=200))
def test_random_bytes_pass(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_fuzzing_runs(tmp_path: Path) -> None:
    """As `make fuzz` does, for a second."""
    pytest.importorskip("atheris")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "-s", "1", "values"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "nothing found" in done.stdout
    assert list((tmp_path / ".fuzz" / "values").iterdir())
