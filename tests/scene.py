"""An order that is worked off by the real services, minute by minute, without a network.

scene = Scene(database, tmp_path)
scene.hear(orm())                       # as HL7 intake takes it
scene.show("CT1")                       # a scanner is answered with the worklist
scene.begin(); scene.scan(3); scene.end()
scene.commit(); scene.tell()            # storage commitment; the outbox delivers
order = scene.order                     # the row of the order
"""

import time
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from sqlalchemy import select

from hl7 import profile
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl import closing, commitment, outbox, procedures, sightings
from mwl.commitment import Judge, Reference, Request
from mwl.config import Close
from mwl.db import Database
from mwl.db.tables import ImagingOrder, ScheduledStep
from mwl.outbox import Courier, Destination, Destinations, Kind
from mwl.scp.mpps import reading
from mwl.sightings import KEYWORDS
from mwl.worklist.find import Query, pages
from tests import department
from tests.archived import Archived
from tests.committing import register
from tests.hl7_mapping import BERLIN, DEFAULT
from tests.images import ct_slice

IMPLICIT = "1.2.840.10008.1.2"
STUDY = "1.2.826.0.1.3680043.8.498.1"
TOLD = Destinations((Destination("ris", frozenset({"IP", "CM", "DC", "CLOSED"})),))
BEGAN = datetime(2030, 1, 2, 8, 0, tzinfo=UTC)


class Scene:
    """One order of Jane Doe (`tests.builders.orm`) and its scanner CT1; a minute each act."""

    def __init__(self, database: Database, folder: Path, close: Close | None = None) -> None:
        self.database = database
        self.now = BEGAN
        self.close = close or Close()
        self.archive = Archived(database, folder)
        register(database, "CT1", now=BEGAN, host="10.0.0.21", port=104, modality="CT")
        self.effects = closing.effects(self.close, TOLD)
        self.images: list[Dataset] = []
        self._way_in = Inbound(
            database,
            Profiles.single(profile.load(DEFAULT), BERLIN),
            told=TOLD,
            clock=lambda: self.now,
        )

    @property
    def order(self) -> int:
        return int(self._one(select(ImagingOrder.id)))

    @property
    def step(self) -> int:
        return int(self._one(select(ScheduledStep.id).order_by(ScheduledStep.id)))

    def _one(self, statement: Any) -> Any:
        with self.database.read() as session:
            return session.connection().execute(statement).scalars().first()

    def later(self, **by: float) -> None:
        self.now += timedelta(**(by or {"minutes": 1}))

    def hear(self, text: str) -> bytes:
        """Take an HL7 message; give the answer."""
        self.later()
        answer = self._way_in.receive(text.encode(), "10.0.0.7:52011")
        assert answer is not None
        return answer

    def show(self, title: str = "CT1", address: str = "10.0.0.21") -> None:
        """Answer a scanner with all that is on the worklist."""
        self.later()
        names = tuple(KEYWORDS)
        lookout = sightings.Lookout(self.database)
        for page in pages(self.database, Query(names), now=self.now):
            lookout.note(title, address, names, page)
        rows = sightings._rows(lookout._answers)
        told = [{**row, "first_at": self.now, "last_at": self.now} for row in rows]
        assert told
        self.database.write(lambda session: sightings.keep(session, told))

    def begin(self, uid: str = "1.2.9.1", **changed: Any) -> None:
        """Take an N-CREATE of the scanner."""
        self.later()
        data = department._create(1)
        for keyword, value in changed.items():
            setattr(data, keyword, value)
        created = reading.created(department._encoded(data), IMPLICIT, uid, "CT1")
        self.database.write(
            lambda s: procedures.start(s, created, effects=self.effects, now=self.now)
        )

    def scan(
        self, count: int = 3, series: int = 1, source: str = "CT1", **given: Any
    ) -> list[Dataset]:
        """Keep images of the scanner, a second each."""
        self.later()
        made = []
        for number in range(1, count + 1):
            self.later(seconds=1)
            values = {
                "SOPInstanceUID": generate_uid(),
                "StudyInstanceUID": STUDY,
                "SeriesInstanceUID": f"{STUDY}.{series}",
                "SeriesNumber": str(series),
                "SeriesDescription": "Head axial",
                **given,
            }
            image = ct_slice(number, **values)
            self.archive.add(image, source=source, received_at=self.now)
            made.append(image)
        self.images += made
        return made

    def end(self, uid: str = "1.2.9.1", state: str = "COMPLETED", but: int = 0) -> None:
        """Take an N-SET that lists the images so far, and `but` more that never came."""
        self.later()
        data = department._set(self.images[0] if self.images else ct_slice(1))
        data.PerformedProcedureStepStatus = state
        missing = [ct_slice(1, SeriesInstanceUID=f"{STUDY}.9") for _ in range(but)]
        series: dict[str, list[Dataset]] = {}
        for image in [*self.images, *missing]:
            series.setdefault(str(image.SeriesInstanceUID), []).append(image)
        data.PerformedSeriesSequence = [
            _series(data.PerformedSeriesSequence[0], uid, images) for uid, images in series.items()
        ]
        modified = reading.modified(department._encoded(data), IMPLICIT, uid, "CT1", dict)
        self.database.write(
            lambda s: procedures.update(s, modified, effects=self.effects, now=self.now)
        )

    def commit(self) -> None:
        """Ask to commit the images so far; judge that, and report it."""
        self.later()
        asked = [Reference(str(i.SOPClassUID), str(i.SOPInstanceUID)) for i in self.images]
        request = Request("1.2.8.1", "CT1", "MWL", asked)
        accepted = self.database.write(
            lambda s: commitment.accept(
                s, request, association="one", wait=timedelta(hours=1), now=self.now
            )
        )
        self.later()
        judge = Judge(self.database, self.archive.store, lambda _: True, "node", lambda: self.now)
        assert judge.one()
        self.database.write(lambda s: commitment.reported(s, accepted.id, self.now))

    def clock(self, **by: float) -> None:
        """Let the clock look at orders, some time later."""
        self.later(**by)
        closing.sweep(self.database, self.close, self.now, TOLD)

    def tell(self, outcome: outbox.Outcome | None = None) -> None:
        """Deliver what waits."""
        self.later()
        answer = b"MSH|^~\\&|RIS|HOSPITAL|MWL|RADIOLOGY|20300102090000||ACK|R1|P|2.5.1\rMSA|AA|1\r"
        done = outcome or outbox.Done(answer)
        courier = Courier(
            self.database,
            {Kind.ORDER_STATUS: lambda _: done, Kind.COMMITMENT_REPORT: lambda _: outbox.Done()},
            look_s=0.01,
            clock=lambda: self.now,
        )
        courier.start()
        deadline = time.monotonic() + 20
        while self._waiting() and time.monotonic() < deadline:
            time.sleep(0.01)
        courier.stop(5)

    def _waiting(self) -> bool:
        with self.database.read() as session:
            return bool(outbox.listing(session, state="waiting"))


def worked_off(database: Database, folder: Path) -> Scene:
    """Play an order from its first message until it is CLOSED and the RIS has heard of it."""
    from tests.builders import orm

    scene = Scene(database, folder)
    scene.hear(orm())
    scene.show("CT1")
    scene.hear(orm(ORC_1="XO", ORC_7="^^^20300102101500^^R", PID_5="Doe^Janet^Q"))
    scene.show("CT2", "10.0.0.22")
    scene.begin()
    scene.scan(3)
    scene.scan(2, series=2, SeriesDescription="Head coronal")
    scene.commit()
    scene.end()
    scene.tell()
    return scene


def _series(like: Dataset, uid: str, images: list[Dataset]) -> Dataset:
    series = deepcopy(like)
    series.SeriesInstanceUID = uid
    series.ReferencedImageSequence = [_reference(image) for image in images]
    return series


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item
