"""What every object store promises, wherever its bytes are."""

import os
import secrets
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from mwl.config import Archive
from mwl.objects import Missing, ObjectStore, Writer, open_store
from tests import s3

MIB = 1024 * 1024
NOBODY = "ab/cd/" + "0" * 32 + ".dcm"

_HALF = """
import os, sys, time
from pathlib import Path
from mwl.config import load
from mwl.objects import open_store

writer = open_store(load(None, os.environ).archive, Path(sys.argv[1])).create()
for _ in range(7):
    writer.write(b"x" * 1024 * 1024)
print(writer.key, flush=True)
time.sleep(600)
"""

_LARGE = """
import os, resource, sys
from pathlib import Path
from mwl.config import load
from mwl.objects import open_store

store = open_store(load(None, os.environ).archive, Path(sys.argv[1]))
def put(mib):
    writer, piece = store.create(), bytes(1024 * 1024)
    for _ in range(mib):
        writer.write(piece)
    writer.finish()
    return writer.key
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
put(1)
before = peak()
key = put(300)
assert store.size(key) == 300 * 1024 * 1024
assert sum(map(len, store.read(key))) == 300 * 1024 * 1024
print(peak() - before)
"""


@pytest.fixture
def objects(archive: Archive, tmp_path: Path) -> ObjectStore:
    return open_store(archive, tmp_path)


def put(objects: ObjectStore, data: bytes, piece: int = 16_384) -> str:
    writer = objects.create(expected=len(data))
    for at in range(0, len(data), piece):
        writer.write(memoryview(data)[at : at + piece])
    writer.finish()
    return writer.key


def fill(writer: Writer, pieces: int, size: int) -> None:
    """Write `pieces` times `size` bytes."""
    for _ in range(pieces):
        writer.write(bytes(size))


def get(objects: ObjectStore, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(objects.read(key, start, length))


@pytest.mark.parametrize("size", [0, 1, 65_536, MIB, 2 * MIB + 5])
def test_what_follows_the_head_is_hashed(objects: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    writer = objects.create(b"a head")
    for at in range(0, size, 100_000):
        writer.write(memoryview(data)[at : at + 100_000])
    writer.finish()
    assert writer.sha256 == sha256(data).digest()
    assert get(objects, writer.key) == b"a head" + data


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_001, 5 * MIB - 1, 5 * MIB, 16 * MIB + 7])
def test_what_was_finished_is_read_again(objects: ObjectStore, size: int) -> None:
    data = secrets.token_bytes(size)
    key = put(objects, data)
    assert get(objects, key) == data
    assert objects.size(key) == size
    assert objects.modified(key) is not None
    assert list(objects.keys()) == [key]


@pytest.mark.parametrize("piece", [1_000, 65_536, 131_072, 400_000])
def test_pieces_of_any_length_make_the_same_object(objects: ObjectStore, piece: int) -> None:
    data = secrets.token_bytes(400_000)
    assert get(objects, put(objects, data, piece)) == data


def test_a_buffer_may_be_used_again_after_write(objects: ObjectStore) -> None:
    writer, buffer, wanted = objects.create(), bytearray(50_000), b""
    for number in range(200):
        buffer[:] = bytes([number]) * len(buffer)
        wanted += buffer
        writer.write(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    writer.finish()
    assert get(objects, writer.key) == wanted


def test_a_part_is_read(objects: ObjectStore) -> None:
    data = secrets.token_bytes(600_000)
    key = put(objects, data)
    assert get(objects, key, 5) == data[5:]
    assert get(objects, key, 5, 10) == data[5:15]
    assert get(objects, key, 0, 300_000) == data[:300_000]
    assert get(objects, key, 599_990, 100) == data[-10:]
    assert get(objects, key, 5, 0) == b""
    assert get(objects, key, 600_000) == b""
    assert get(objects, key, 700_000, 5) == b""


def test_reading_comes_in_pieces(objects: ObjectStore) -> None:
    key = put(objects, bytes(8 * MIB))
    assert max(len(piece) for piece in objects.read(key)) <= 2 * MIB


def test_a_reader_may_stop_early(objects: ObjectStore) -> None:
    key = put(objects, bytes(8 * MIB))
    reader = objects.read(key)
    assert next(reader)
    reader.close()  # type: ignore[attr-defined]
    assert len(get(objects, key)) == 8 * MIB


def test_what_is_not_there_is_missing(objects: ObjectStore) -> None:
    put(objects, b"something else")
    assert objects.size(NOBODY) is None
    assert objects.modified(NOBODY) is None
    for start in (0, 5):
        with pytest.raises(Missing, match=NOBODY):
            get(objects, NOBODY, start)
    objects.delete(NOBODY)


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../../etc/passwd", "ab/cd/../../x", NOBODY + "\n", "1.2.840.10008"]
)
def test_what_is_no_key_is_never_a_path(objects: ObjectStore, key: str) -> None:
    with pytest.raises(Missing):
        get(objects, key)
    with pytest.raises(Missing):
        objects.delete(key)
    assert objects.size(key) is None
    assert objects.modified(key) is None


def test_deleted_is_gone(objects: ObjectStore) -> None:
    key, other = put(objects, b"one"), put(objects, b"two")
    objects.delete(key)
    objects.delete(key)
    assert list(objects.keys()) == [other]
    assert objects.size(key) is None


def test_keys_of_an_empty_store(objects: ObjectStore) -> None:
    assert list(objects.keys()) == []


def test_no_two_objects_share_a_key(objects: ObjectStore) -> None:
    keys = [put(objects, b"the same") for _ in range(50)]
    assert sorted(objects.keys()) == sorted(keys)
    assert len(set(keys)) == 50


@pytest.mark.parametrize("size", [0, 1_000, 12 * MIB])
def test_discarded_leaves_nothing(objects: ObjectStore, size: int) -> None:
    writer = objects.create()
    fill(writer, -(-size // MIB), min(size, MIB))
    writer.discard()
    writer.discard()
    assert list(objects.keys()) == []


def test_discard_after_finish_changes_nothing(objects: ObjectStore) -> None:
    writer: Writer = objects.create()
    writer.write(b"kept")
    writer.finish()
    writer.discard()
    assert get(objects, writer.key) == b"kept"


def test_a_process_killed_in_mid_write_leaves_at_most_half_an_object(
    archive: Archive, objects: ObjectStore, tmp_path: Path
) -> None:
    kept = put(objects, b"kept")
    environ = {**os.environ, **s3.environ(archive)}
    command = [sys.executable, "-c", _HALF, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as half:
        assert half.stdout is not None
        key = half.stdout.readline().strip()
        half.send_signal(signal.SIGKILL)
    assert key
    assert set(objects.keys()) - {key} == {kept}
    assert get(objects, kept) == b"kept"
    if archive.endpoint:
        assert objects.size(key) is None  # a bucket shows no half objects


def test_a_large_object_needs_little_memory(s3_bucket: Archive, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LARGE, str(tmp_path)],
        env={**os.environ, **s3.environ(s3_bucket)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100, "MiB more than for a small one"
