"""Digests that are made beside other work are those of the bytes, in their order."""

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from mwl.objects import hashing
from mwl.objects.hashing import Beside, Digest

PIECES = [os.urandom(size) for size in (100, 200_000, 65_536, 0, 1_000_000, 1)]
WANTED = sha256(b"".join(PIECES)).digest()


def made() -> bytes:
    digest = Digest()
    for piece in PIECES:
        digest.begin(memoryview(piece))
    return digest.digest()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_digest_is_that_of_all_pieces_however_many_threads_help(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(hashing, "_beside", Beside(threads))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: made(), range(40))) == {WANTED}


def test_who_finds_no_idle_thread_is_told_so() -> None:
    assert Beside(0).take(Digest(), memoryview(PIECES[1])) is None


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_beside", Beside(1))
    assert made() == WANTED
    child = os.fork()
    if not child:
        os._exit(0 if made() == WANTED else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
