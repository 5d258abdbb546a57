"""Many files for one folder: whole or not there, whatever happens meanwhile."""

from pathlib import Path

import pytest

from mwl.wlfiles import disk
from mwl.wlfiles.disk import Batch

NAMES = [f"mwl-{number:032x}.wl" for number in range(100)]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tell in which order files are put on disk and moved."""
    happened: list[str] = []
    sync, sync_all, replace = disk._sync, disk._sync_all, Path.replace

    def noted_sync(path: Path, flags: int) -> None:
        happened.append(f"sync {path.name}")
        sync(path, flags)

    def noted_all(folder: Path) -> None:
        happened.append("sync all")
        sync_all(folder)

    def noted_replace(path: Path, target: Path) -> Path:
        happened.append(f"move {target.name}")
        return replace(path, target)

    monkeypatch.setattr(disk, "_sync", noted_sync)
    monkeypatch.setattr(disk, "_sync_all", noted_all)
    monkeypatch.setattr(Path, "replace", noted_replace)
    return happened


def put(folder: Path, names: list[str], data: bytes = b"whole") -> int:
    with Batch(folder) as batch:
        for name in names:
            batch.put(name, data)
    return batch.count


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_few_are_on_disk_each_before_its_name_leads_to_it(tmp_path: Path, told: list[str]) -> None:
    assert put(tmp_path, NAMES[:2]) == 2
    assert told == [
        *(f"sync .{name}.new" for name in NAMES[:2]),
        *(f"move {name}" for name in reversed(NAMES[:2])),
    ]
    assert there(tmp_path) == NAMES[:2]


def test_many_are_on_disk_in_one_go(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_MOST", 50)
    assert put(tmp_path, NAMES) == 100
    assert [each for each in told if not each.startswith("move")] == ["sync all"] * 2
    assert told[0] == told[51] == "sync all"
    assert there(tmp_path) == NAMES


@pytest.mark.parametrize("many", [2, 100])
def test_what_can_t_be_put_on_disk_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    put(tmp_path, NAMES[:1], b"old")

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "_sync", full)
    monkeypatch.setattr(disk, "_sync_all", full)
    with pytest.raises(OSError, match="No space"):
        put(tmp_path, NAMES[:many])
    assert there(tmp_path) == NAMES[:1]
    assert (tmp_path / NAMES[0]).read_bytes() == b"old"


def test_a_link_leads_nobody_out_of_the_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.write_bytes(b"theirs")
    (folder / NAMES[0]).symlink_to(outside)
    assert put(folder, NAMES[:1]) == 1
    assert not (folder / NAMES[0]).is_symlink()

    def plant() -> None:
        with Batch(folder) as batch:
            (folder / f".{NAMES[1]}.new").symlink_to(outside)
            batch.put(NAMES[1], b"ours")

    with pytest.raises(FileExistsError):
        plant()
    assert outside.read_bytes() == b"theirs"


def test_an_error_of_the_file_system_comes_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        disk._sync_all(tmp_path / "none")
