"""Objects in a folder: durable, bounded by the free space, private."""

import errno
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mwl.config import Archive
from mwl.errors import Outage
from mwl.objects import Full, ObjectStore, Writer, local, open_store
from tests.peers import missing, require
from tests.test_mwl_objects import MIB, fill, get, put

_ONE = """
import os, sys
from pathlib import Path
from mwl.config import Archive
from mwl.objects import open_store

writer = open_store(Archive(), Path(sys.argv[1])).create()
for _ in range(3):
    writer.write(bytes(65_536))
writer.finish()
os.write(1, b"FINISHED")
"""

_BOUNDED = """
import resource, sys
from pathlib import Path
from mwl.config import Archive
from mwl.objects import Full, open_store

store = open_store(Archive(), Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
writer = store.create()
try:
    for _ in range(5):
        writer.write(bytes(100_000))
    writer.finish()
except Full as full:
    print(full)
writer.discard()
print(list(store.keys()))
"""


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return open_store(Archive(), tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run([require(mount[0]), *mount[1:]], capture_output=True).returncode:
        missing("this user may not mount a small disk")
    yield folder
    subprocess.run([require("umount"), "--lazy", str(folder)], check=True)


def on(folder: Path, min_free_bytes: int) -> ObjectStore:
    return open_store(Archive(min_free_bytes=min_free_bytes), folder)


def test_finish_returns_after_data_folder_and_parents_are_synced(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "trace=write,fsync,fdatasync,rename,renameat,renameat2"
    traced = [require("strace"), "-f", "-y", "-qq", "-e", calls, "-o", str(trace)]
    done = subprocess.run(
        [*traced, sys.executable, "-c", _ONE, str(tmp_path)], capture_output=True, timeout=60
    )
    if b"PTRACE" in done.stderr:
        missing("this container may not trace")
    assert done.returncode == 0, done.stderr
    seen = []
    for line in trace.read_text().splitlines():
        call = re.search(rf"(\w+)\(\d+<{re.escape(str(tmp_path))}([^>]*)>", line)
        if call:
            seen.append((call[1], re.sub(r"[0-9a-f]{32}", "NAME", call[2])))
        elif "FINISHED" in line:
            seen.append(("told", ""))
    folder = re.sub("/NAME.dcm", "", seen[-4][1])
    first = folder.rpartition("/")[0]
    assert seen == [
        *(("fsync", parent) for parent in ("", "/objects", first)),
        ("write", f"{folder}/NAME.dcm"),
        ("fdatasync", f"{folder}/NAME.dcm"),
        ("fsync", folder),
        ("told", ""),
    ]


def test_nobody_else_may_read_images(objects: ObjectStore, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key = put(objects, b"private")
    finally:
        os.umask(before)
    path = tmp_path / "objects" / key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, path.parent.parent, tmp_path / "objects"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_names_of_others_are_no_keys(objects: ObjectStore, tmp_path: Path) -> None:
    key = put(objects, b"ours")
    folder = (tmp_path / "objects" / key).parent
    (folder / "notes.txt").touch()
    (folder / ("0" * 32)).touch()
    (tmp_path / "objects" / "lost+found").mkdir()
    (tmp_path / "objects" / "ab").touch()
    assert list(objects.keys()) == [key]


def test_a_full_folder_makes_room_for_the_next(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_FILES_A_FOLDER", 10)
    keys = [put(objects, b"x") for _ in range(35)]
    assert len({key.rpartition("/")[0] for key in keys}) >= 3
    assert sorted(objects.keys()) == sorted(keys)


def test_folders_are_closed_with_their_last_writer(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_FILES_A_FOLDER", 1)
    put(objects, b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        put(objects, b"x")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_threads_that_finish_at_once_share_a_sync(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(objects, b"so that the folder is there")
    syncs, sync = [], os.fsync
    slow = threading.Event()

    def counted(descriptor: int) -> None:
        syncs.append(descriptor)
        slow.wait(0.3)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    threads = [threading.Thread(target=put, args=(objects, b"x")) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(objects.keys())) == 11
    assert 1 <= len(syncs) <= 5


@pytest.mark.parametrize("call", ["fdatasync", "fsync", "write"])
def test_a_failing_disk_is_an_outage_and_nothing_is_kept(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    kept = put(objects, b"kept")

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = objects.create()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(Outage, match=r"Input/output error|could not be synced"):
            _end(writer)
    # The kernel tells of a lost write once: to ask again proves nothing.
    with pytest.raises(Outage, match="given up"):
        writer.finish()
    writer.discard()
    assert list(objects.keys()) == [kept]
    assert get(objects, put(objects, b"well again")) == b"well again"


def _end(writer: Writer, pieces: int = 1) -> None:
    fill(writer, pieces, 100_000)
    writer.finish()


def test_a_folder_that_went_away_is_made_again(objects: ObjectStore, tmp_path: Path) -> None:
    put(objects, b"lost")
    subprocess.run(["rm", "-r", str(tmp_path / "objects")], check=True)
    with pytest.raises(Outage, match="No such file"):
        put(objects, b"refused")
    assert get(objects, put(objects, b"kept")) == b"kept"


def test_what_may_not_be_written_is_an_outage_that_names_the_place(tmp_path: Path) -> None:
    objects = open_store(Archive(objects="/proc/images"), tmp_path)
    with pytest.raises(Outage, match=r"/proc/images.*rights"):
        objects.create()


def test_a_full_disk_is_told_and_leaves_nothing(small_disk: Path) -> None:
    objects = on(small_disk, 0)
    kept = put(objects, bytes(MIB))
    writer = objects.create()
    with pytest.raises(Full, match="room"):
        _end(writer, 20)
    writer.discard()
    assert list(objects.keys()) == [kept]
    assert get(objects, put(objects, bytes(MIB // 2))) == bytes(MIB // 2)


def test_a_disk_that_fills_up_under_us_is_told_too(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was seen a moment ago no longer holds.
    monkeypatch.setattr("mwl.objects.space._BELIEVED_S", 600.0)
    objects = on(small_disk, 0)
    kept = put(objects, b"kept")
    writer = objects.create()
    (small_disk / "somebody else's").write_bytes(bytes(MIB + MIB // 2))
    with pytest.raises(Full, match="No space left"):
        _end(writer, 20)
    writer.discard()
    assert list(objects.keys()) == [kept]


def test_images_are_refused_before_the_floor(small_disk: Path) -> None:
    objects = on(small_disk, MIB)
    with pytest.raises(Full, match="min_free_bytes"):
        objects.create(expected=MIB + MIB // 2)
    writer = objects.create()
    with pytest.raises(Full, match="min_free_bytes"):
        fill(writer, 40, 65_536)
    disk = os.statvfs(small_disk)
    assert disk.f_bavail * disk.f_frsize >= MIB
    writer.discard()
    put(objects, bytes(MIB // 2))


def test_room_that_was_made_is_seen(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(MIB + MIB // 2))
    objects = on(small_disk, MIB)
    with pytest.raises(Full):
        objects.create()
    ballast.unlink()
    put(objects, b"kept")


def test_a_bound_on_files_counts_as_full(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BOUNDED, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    text, keys = done.stdout.splitlines()
    assert "File too large" in text
    assert keys == "[]"


def test_a_store_is_opened_without_touching_the_disk(tmp_path: Path) -> None:
    objects = open_store(Archive(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert repr(objects) == f"LocalStore('{tmp_path}/objects')"


def test_an_absolute_folder_is_itself(tmp_path: Path) -> None:
    put(open_store(Archive(objects=str(tmp_path / "images")), tmp_path / "data"), b"x")
    assert list((tmp_path / "images").iterdir())
