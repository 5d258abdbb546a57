"""Killed three times while messages of all kinds come in: `make soak` with fewer of them."""

from itertools import islice

import pytest
from sqlalchemy import delete, func, select, update

from mwl.db.tables import ImagingOrder, Message, Patient, ScheduledStep
from tests.soak.check import wrongs
from tests.soak.feed import Feed
from tests.soak.run import serving, soak
from tests.soak.sender import Sender
from tests.test_hl7_inbound import PEER, inbound

MESSAGES = 600
KILLED_AT = [120, 240, 360]  # messages answered


def test_no_acknowledged_message_is_lost_or_counts_twice(database_url, tmp_path):
    times = iter(KILLED_AT)
    due = next(times)

    def after(answered: int) -> bool:
        nonlocal due
        if answered < due:
            return False
        due = next(times, MESSAGES)
        return True

    with serving(tmp_path, MWL_DATABASE__URL=database_url) as server:
        server.start()
        outcome = soak(server, MESSAGES, after)
        assert outcome.wrong == []
        assert outcome.kills == len(KILLED_AT)
        assert outcome.lost > 0
        assert outcome.messages == MESSAGES
        assert outcome.accepted > MESSAGES / 2
        assert "Traceback" not in server.log


TAMPERING = {
    "answered, and not kept": delete(Message).where(Message.id == 7),
    "order": update(ScheduledStep).where(ScheduledStep.id == 3).values(state="READY"),
    "never sent": update(ImagingOrder).where(ImagingOrder.id == 3).values(order_number="FO9"),
    "patient": update(Patient).where(Patient.id == 2).values(patient_name="Roe^Richard"),
    "accepted 2 times": update(Message)
    .where(Message.id == 2)
    .values(control_id=select(Message.control_id).where(Message.id == 1).scalar_subquery()),
}


@pytest.mark.parametrize("found", TAMPERING)
def test_what_is_wrong_would_be_found(sqlite_database, found):
    sender = Sender(Feed(1), 0, 0)
    way_in = inbound(sqlite_database)
    for sent in islice(iter(sender.feed), 150):
        sender.tries[sent.control_id] += 1
        answer = way_in.receive(sent.raw, PEER)
        assert answer is not None
        sender._note(sent, answer)
    assert wrongs(sqlite_database, [sender]) == []
    with sqlite_database.read() as session:
        assert session.connection().scalar(select(func.count()).select_from(Message)) > 100
    sqlite_database.write(lambda session: session.connection().execute(TAMPERING[found]))
    assert any(found in each for each in wrongs(sqlite_database, [sender]))
