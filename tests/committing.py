"""What tests of storage commitment share: instances with bytes, requests, waiting."""

import time
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import select, update

from mwl import archive, commitment, devices
from mwl.commitment import Reference, Request
from mwl.config import Archive, DeviceTable
from mwl.db.tables import CommitmentItem, StoredObject
from mwl.objects import open_store
from tests.archive_rows import CT, NOW, instance_uid, received

PATIENCE_S = 30.0
HEAD = b"\0" * 400  # what stands before a data set in a file
WAIT = timedelta(minutes=60)


def make_store(folder, images_in=None):
    return open_store(images_in or Archive(objects="objects", min_free_bytes=0), folder)


def keep(database, store, number=1, *, content=b"", **given):
    """Store an instance, bytes and index; return its key."""
    content = content or b"content of %d" % number * 1000
    writer = store.create()
    writer.write(HEAD + content)
    writer.finish()
    instance = received(
        number,
        key=writer.key,
        size=len(HEAD + content),
        data_set_offset=len(HEAD),
        sha256=sha256(content).digest(),
        **given,
    )
    archive.store(database, instance)
    return writer.key


def references(*numbers, sop_class=CT):
    return [Reference(sop_class, instance_uid(number)) for number in numbers]


def register(database, title="CT1", *, now=NOW, **given):
    device = DeviceTable(ae_title=title, **given)
    database.write(lambda session: devices.add(session, device, now=now, replace=True))


def ask(database, items, *, uid="1.2.3", title="CT1", association="one", wait=WAIT, now=NOW):
    request = Request(uid, title, "MWL", items)
    return database.write(
        lambda session: commitment.accept(
            session, request, association=association, wait=wait, now=now
        )
    )


def failures(database, request):
    """Give the items' failures in their order; None: not decided."""
    items = CommitmentItem.__table__
    with database.read() as session:
        found = session.connection().execute(
            select(items.c.failure).where(items.c.commitment == request).order_by(items.c.id)
        )
        return list(found.scalars())


def state(database, request):
    with database.read() as session:
        (entry,) = [row for row in commitment.listing(session) if row["id"] == request]
    return entry["state"]


def set_object(database, key, **values):
    """Change an object's row."""
    objects = StoredObject.__table__
    database.write(
        lambda session: session.connection().execute(
            update(objects).where(objects.c.key == key).values(**values)
        )
    )


def until(condition, what="it"):
    """Wait until `condition()` is true; return that."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} never came")
