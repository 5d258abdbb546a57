"""Files written past the page cache hold what they were given, wherever that can be done."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from mwl.config import Archive
from mwl.errors import Outage
from mwl.objects import ObjectStore, direct, open_store
from tests.test_mwl_objects import MIB, get

LENGTHS = [0, 1, 4095, 4096, 32_768, 32_769, MIB - 1, MIB, MIB + 1, 3 * MIB + 4097]
REAL_WRITE = os.write


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return open_store(Archive(), tmp_path)


def kept(objects: ObjectStore, data: bytes, piece: int = 131_071) -> bytes:
    """Write in pieces that fit nothing, and read back."""
    writer = objects.create()
    for start in range(0, len(data), piece):
        writer.write(data[start : start + piece])
    writer.finish()
    return get(objects, writer.key)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_comes_back(objects: ObjectStore, length: int) -> None:
    data = os.urandom(length)
    assert kept(objects, data) == data


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_comes_back_where_there_is_no_direct_way(
    objects: ObjectStore, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, command: int, flags: int) -> int:
        if flags:
            raise OSError(errno.EINVAL, "no direct I/O here")
        return 0

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    data = os.urandom(length)
    assert kept(objects, data) == data


def test_a_disk_of_larger_blocks_gets_the_rest_the_other_way(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []

    def picky(descriptor: int, data: memoryview) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & direct._DIRECT:
            writes.append(len(data))
            if len(data) % 65_536:
                raise OSError(errno.EINVAL, "not whole blocks of this disk")
            data = data[:65_536]
        return REAL_WRITE(descriptor, data)

    monkeypatch.setattr(os, "write", picky)
    data = os.urandom(2 * MIB + 100_000)
    assert kept(objects, data) == data
    assert writes


def test_a_failing_disk_is_told_on_the_direct_way_too(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", broken)
    with pytest.raises(Outage, match="Input/output error"):
        kept(objects, bytes(MIB))


def test_a_buffer_that_is_used_again_shows_nothing_of_before(objects: ObjectStore) -> None:
    assert kept(objects, b"A" * MIB) == b"A" * MIB
    assert kept(objects, b"B" * 5000) == b"B" * 5000


def test_buffers_are_each_ones_own_and_few_are_kept() -> None:
    buffers = direct.Buffers()
    taken = [buffers.take() for _ in range(40)]
    assert len({id(each) for each in taken}) == 40
    for each in taken:
        buffers.give_back(each)
    again = [buffers.take() for _ in range(40)]
    assert sum(any(each is other for other in taken) for each in again) == direct._MOST_KEPT
