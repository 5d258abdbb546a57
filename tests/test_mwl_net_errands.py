"""What waits to be done on an association is done between the peer's messages."""

import threading
import time
from dataclasses import replace

import pytest

from mwl.net.codec import COMMAND
from mwl.net.dimse import (
    NO_DATA_SET,
    RESPONSE,
    CommandField,
    Element,
    encode_command,
    fragments,
)
from mwl.net.limits import DEFAULTS
from mwl.net.pdu import Abort
from mwl.net.status import SUCCESS
from tests.dicom_client import (
    MODALITY_WORKLIST_FIND,
    VERIFICATION,
    request,
)
from tests.dicom_client import status as status_of
from tests.dicom_server import (
    BOTH,
    IDENTIFIER,
    Finder,
    dial_fixture,  # noqa: F401 - a fixture
    last_words,
    serve_fixture,  # noqa: F401 - a fixture
)


class Errand:
    """Looks `times` times, `every_s` seconds apart, and does what a test says."""

    def __init__(self, times, every_s=0.01, work=lambda: None):
        self.times, self.every_s, self.work = times, every_s, work
        self.looks = 0
        self.threads = set()
        self.ended = threading.Event()
        self.association = None

    def look(self):
        self.looks += 1
        self.threads.add(threading.get_ident())
        self.work()
        return self.every_s if self.looks < self.times else None

    def end(self):
        self.ended.set()


def attending(errand):
    """Make a service whose association is attended by `errand` from its first C-FIND on."""

    def perform(association, message):
        errand.association = association
        errand.threads.add(threading.get_ident())
        association.attend(errand, 0)
        association.send_response(message, SUCCESS)

    return Finder(perform)


def begin(client):
    client.associate(BOTH)
    assert [code for code, _ in client.find(IDENTIFIER)] == [SUCCESS]
    return client


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_errand_looks_in_the_associations_thread_until_it_has_done(serve, dial):
    errand = Errand(3)
    client = begin(dial(serve(attending(errand))))
    wait_for(lambda: errand.looks == 3)
    assert len(errand.threads) == 1
    assert client.echo() == SUCCESS
    client.release()
    assert errand.looks == 3
    assert not errand.ended.is_set()  # it had said that it would look no more


def test_messages_are_answered_meanwhile(serve, dial):
    errand = Errand(10_000)
    client = begin(dial(serve(attending(errand))))
    for _ in range(50):
        assert client.echo() == SUCCESS
    client.release()
    assert errand.ended.wait(10)


@pytest.mark.parametrize("ends_by", ["release", "close"])
def test_an_errand_learns_of_the_end(serve, dial, ends_by):
    errand = Errand(10_000)
    client = begin(dial(serve(attending(errand))))
    client.release() if ends_by == "release" else client.close()
    assert errand.ended.wait(10)


def test_an_errand_keeps_nobody_for_longer_than_a_peer_may_rest(serve, dial):
    errand = Errand(10_000)
    limits = replace(DEFAULTS, idle_timeout_s=0.2)
    client = begin(dial(serve(attending(errand), limits=limits)))
    assert isinstance(last_words(client), Abort)
    assert errand.ended.is_set()
    assert errand.looks > 1


def test_an_errand_may_request_of_the_peer(serve, dial):
    answers = []

    def work():
        answers.append(
            errand.association.request(
                3,
                {
                    Element.AFFECTED_SOP_CLASS_UID: MODALITY_WORKLIST_FIND,
                    Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT,
                },
                None,
            )
        )

    errand = Errand(1, work=work)
    client = begin(dial(serve(attending(errand))))
    command, _ = client.read_message()
    assert command.field == CommandField.N_EVENT_REPORT
    # Another request crosses ours, and waits for its turn.
    client.send(request(1, CommandField.C_ECHO, VERIFICATION, 77))
    answer = {
        Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT | RESPONSE,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: command.message_id,
        Element.DATA_SET_TYPE: NO_DATA_SET,
        Element.STATUS: SUCCESS,
    }
    client.send(b"".join(fragments(3, COMMAND, encode_command(answer), 16384)))
    echoed, _ = client.read_message()
    assert (echoed.message_id, status_of(echoed)) == (77, SUCCESS)
    assert [status_of(each) for each in answers] == [SUCCESS]
    client.release()


def test_a_release_while_an_errand_waits_for_its_answer_ends_well(serve, dial):
    def work():
        errand.association.request(
            3,
            {
                Element.AFFECTED_SOP_CLASS_UID: MODALITY_WORKLIST_FIND,
                Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT,
            },
            None,
        )

    errand = Errand(1, work=work)
    client = begin(dial(serve(attending(errand))))
    client.read_message()
    client.release()
    assert errand.ended.wait(10)


def test_an_errand_with_a_defect_ends_its_association_alone(serve, dial):
    def work():
        raise RuntimeError("a defect")

    errand = Errand(10, work=work)
    server = serve(attending(errand))
    client = begin(dial(server))
    with pytest.raises((EOFError, AssertionError)):
        client.echo()
    assert errand.ended.wait(10)
    assert dial(server).associate((VERIFICATION,)).echo() == SUCCESS
