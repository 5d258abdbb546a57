"""Recorded answers with something wrong in them, against our own requestor: it never hangs.

What an acceptor may do to us is less than what a requestor may: it is one whom we called.
MWL_MUTATIONS plays more of them, as for the other side.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mwl.commitment import STORAGE_COMMITMENT_PUSH_MODEL, WELL_KNOWN_INSTANCE
from mwl.errors import ProtocolError
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Element
from mwl.net.pdu import ProposedContext
from mwl.net.requestor import associate
from mwl.scp.query import STUDY_ROOT_FIND
from tests.dicom_client import VERIFICATION
from tests.hostile import SHORT, Bridge, descriptors
from tests.mutations import damaged
from tests.recorded import Sent, Session, pdus, play, record
from tests.storing import CT, EXPLICIT, IMPLICIT

MUTATIONS = int(os.environ.get("MWL_MUTATIONS", "10000")) // 4
STAYS = 101  # one in so many says no more, and is ended by our time-outs
LIMITS = replace(
    SHORT,
    associate_timeout_s=0.05,
    response_timeout_s=0.05,
    pdu_timeout_s=0.05,
    release_timeout_s=0.05,
    close_timeout_s=0.05,
)


def _echo(association: Association) -> None:
    association.request(1, {Element.COMMAND_FIELD: CommandField.C_ECHO})


def _find(association: Association) -> None:
    asked = {
        Element.COMMAND_FIELD: CommandField.C_FIND,
        Element.AFFECTED_SOP_CLASS_UID: STUDY_ROOT_FIND,
        Element.PRIORITY: 0,
    }
    for _ in association.responses(1, asked, b"ab" * 50):
        pass


def _store(association: Association) -> None:
    stored = {
        Element.COMMAND_FIELD: CommandField.C_STORE,
        Element.AFFECTED_SOP_CLASS_UID: CT,
        Element.AFFECTED_SOP_INSTANCE_UID: "1.2.3",
        Element.PRIORITY: 0,
    }
    association.request(1, stored, iter([b"ab" * 1000] * 10))


def _ask(association: Association) -> None:
    asked = {
        Element.COMMAND_FIELD: CommandField.N_ACTION,
        Element.REQUESTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
        Element.REQUESTED_SOP_INSTANCE_UID: WELL_KNOWN_INSTANCE,
        Element.ACTION_TYPE_ID: 1,
    }
    association.request(1, asked, b"ab" * 50)


CONVERSATIONS: dict[str, tuple[str, Callable[[Association], None]]] = {
    "echo": (VERIFICATION, _echo),
    "query": (STUDY_ROOT_FIND, _find),
    "store": (CT, _store),
    "commitment": (STORAGE_COMMITMENT_PUSH_MODEL, _ask),
}


@pytest.fixture(scope="module")
def answers(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Session]]:
    """Give what the bridge answers to the recorded sessions, PDU by PDU."""
    bridge = Bridge(sqlite_template, tmp_path_factory.mktemp("bridge"))
    server = bridge.serve()
    sessions = record(server, *CONVERSATIONS)
    yield {
        name: pdus([Sent(0, play(server, session, waits_s=0.05))])
        for name, session in sessions.items()
    }
    server.stop(0)
    bridge.close()


def converse(name: str, answered: Session, *, stays: bool = False) -> None:
    """Hold a conversation with a peer that has said all that it will. ProtocolError."""
    ours, theirs = socket.socketpair()
    sop_class, perform = CONVERSATIONS[name]
    with ours, theirs:
        theirs.sendall(b"".join(sent.data for sent in answered))
        if not stays:
            theirs.shutdown(socket.SHUT_WR)
        with associate(
            ours,
            called="PEER",
            calling="MWL",
            contexts=[ProposedContext(1, sop_class, (EXPLICIT, IMPLICIT))],
            limits=LIMITS,
        ) as association:
            perform(association)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_answers_as_they_were_recorded_are_taken(answers: dict[str, Session], name: str) -> None:
    converse(name, answers[name])


@pytest.mark.parametrize("part", range(2))
def test_no_damaged_answer_hangs_or_raises_anything_else(
    answers: dict[str, Session], part: int
) -> None:
    before = descriptors()
    for seed in range(part, MUTATIONS, 2):
        name, answered = damaged(answers, seed)
        try:
            with suppress(ProtocolError):
                converse(name, answered, stays=seed % STAYS == 0)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {name}") from error
    assert not descriptors() - before
