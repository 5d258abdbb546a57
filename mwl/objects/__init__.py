"""Where the bytes of images live: a folder of ours, or a bucket.

Start reading at store.py, what both promise; local.py writes files durably, cloud.py speaks
to S3, Google Cloud Storage and Azure. Neither knows what it keeps: names are its own
(keys.py), and the index row that holds one is what makes an object exist.
"""

from pathlib import Path

from mwl.config import Archive
from mwl.objects.space import Room, room_of
from mwl.objects.store import Full, Missing, ObjectStore, Opened, Writer

__all__ = ["Full", "Missing", "ObjectStore", "Opened", "Room", "Writer", "open_store", "room"]


def open_store(archive: Archive, data_dir: Path) -> ObjectStore:
    """Open the store that the settings name; a relative folder starts at `data_dir`.

    Touches neither disk nor network, so that it may be called before the fork.
    """
    if "://" in archive.objects:
        from mwl.objects.cloud import CloudStore

        return CloudStore(archive)
    from mwl.objects.local import LocalStore

    return LocalStore(data_dir / archive.objects, archive.min_free_bytes)


def room(archive: Archive, data_dir: Path) -> Room | None:
    """Tell how much room there is for images; None: in a bucket, or nobody can tell."""
    if "://" in archive.objects:
        return None
    try:
        return room_of(data_dir / archive.objects, archive.min_free_bytes)
    except OSError:
        return None
