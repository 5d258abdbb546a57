"""From a proposal to the answer; no sockets."""

from dataclasses import replace

import pytest

from mwl.net.codec import HEADER, decode, encode
from mwl.net.dimse import Context
from mwl.net.limits import Limits
from mwl.net.negotiation import IMPLEMENTATION_UID, Agreement, Result, Supported, negotiate
from mwl.net.pdu import (
    AssociateReject,
    AssociateRequest,
    ExtendedItem,
    ProposedContext,
    Role,
    UserInformation,
    title_bytes,
)

ECHO, WORKLIST, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.31", "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
LIMITS = Limits()
SUPPORTED = {
    ECHO: Supported((IMPLICIT,)),
    WORKLIST: Supported((EXPLICIT, IMPLICIT)),
    CT: Supported((IMPLICIT,), requestor_may_be_scu=False, requestor_may_be_scp=True),
}


def request(*contexts: ProposedContext, **user: object) -> AssociateRequest:
    user = {"max_pdu_bytes": 16384, **user}
    return AssociateRequest(
        title_bytes("MWL"),
        title_bytes("CT_1"),
        contexts,
        UserInformation(**user),  # type: ignore[arg-type]
        reserved=bytes(range(32)),
    )


def agree(asked: AssociateRequest, limits: Limits = LIMITS) -> Agreement:
    agreed = negotiate(asked, SUPPORTED, limits)
    assert isinstance(agreed, Agreement)
    assert decode(2, encode(agreed.accept)[HEADER.size :]) == agreed.accept
    return agreed


def results(agreed: Agreement) -> list[tuple[int, int]]:
    return [(answer.id, answer.result) for answer in agreed.accept.contexts]


def test_each_context_gets_its_result() -> None:
    agreed = agree(
        request(
            ProposedContext(1, ECHO, (EXPLICIT, IMPLICIT)),
            ProposedContext(3, "1.2.3", (IMPLICIT,)),
            ProposedContext(5, WORKLIST, (JPEG,)),
            ProposedContext(7, WORKLIST, ()),
            ProposedContext(9, "", (IMPLICIT,)),
        )
    )
    assert results(agreed) == [
        (1, Result.ACCEPTANCE),
        (3, Result.ABSTRACT_SYNTAX_NOT_SUPPORTED),
        (5, Result.TRANSFER_SYNTAXES_NOT_SUPPORTED),
        (7, Result.TRANSFER_SYNTAXES_NOT_SUPPORTED),
        (9, Result.ABSTRACT_SYNTAX_NOT_SUPPORTED),
    ]
    assert agreed.contexts == {1: Context(1, ECHO, IMPLICIT)}


def test_of_the_syntaxes_offered_ours_that_comes_first_is_taken() -> None:
    agreed = agree(request(ProposedContext(1, WORKLIST, (JPEG, IMPLICIT, EXPLICIT))))
    assert agreed.accept.contexts[0].transfer_syntax == EXPLICIT


def test_the_answer_repeats_titles_and_reserved_bytes() -> None:
    asked = replace(request(), called_title=bytes(16), calling_title=b"\xd6" * 16)
    accept = agree(asked).accept
    assert accept.called_title == bytes(16)
    assert accept.calling_title == b"\xd6" * 16
    assert accept.reserved == bytes(range(32))


def test_an_unknown_application_context_refuses_the_association() -> None:
    asked = replace(request(), application_context="1.2.3")
    assert negotiate(asked, SUPPORTED, LIMITS) == AssociateReject(1, 1, 2)


@pytest.mark.parametrize("version", [0, 1, 2, 0xFFFF])
def test_any_protocol_version_is_answered_with_ours(version: int) -> None:
    assert agree(replace(request(), protocol_version=version)).accept.protocol_version == 1


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(None, 16384), (0, 131072), (128, 128), (16384, 16384), (0xFFFFFFFF, 131072)],
)
def test_no_pdu_is_longer_than_the_peer_takes(theirs: int | None, ours: int) -> None:
    assert agree(request(max_pdu_bytes=theirs)).max_send_pdu_bytes == ours


@pytest.mark.parametrize("theirs", [1, 7, 127])
def test_a_peer_that_takes_next_to_nothing_is_refused(theirs: int) -> None:
    refused = negotiate(request(max_pdu_bytes=theirs), SUPPORTED, LIMITS)
    assert refused == AssociateReject(1, 1, 1)


def test_a_repeated_identifier_is_refused_once() -> None:
    agreed = agree(
        request(
            ProposedContext(1, ECHO, (IMPLICIT,)),
            ProposedContext(3, ECHO, (IMPLICIT,)),
            ProposedContext(1, WORKLIST, (IMPLICIT,)),
        )
    )
    assert results(agreed) == [(1, Result.NO_REASON), (3, Result.ACCEPTANCE)]
    assert set(agreed.contexts) == {3}


def test_more_than_128_contexts_are_refused_from_the_129th() -> None:
    agreed = agree(request(*(ProposedContext(n, ECHO, (IMPLICIT,)) for n in range(1, 131))))
    assert [result for _, result in results(agreed)] == [0] * 128 + [Result.NO_REASON] * 2
    assert len(agreed.contexts) == 128


def test_identifiers_that_wrap_around_leave_the_others_usable() -> None:
    asked = request(*(ProposedContext(n * 2 % 256 + 1, ECHO, (IMPLICIT,)) for n in range(130)))
    agreed = agree(asked)
    assert len(agreed.accept.contexts) == 128
    assert set(agreed.contexts) == set(range(5, 256, 2))


def test_roles_are_granted_as_far_as_proposed_and_allowed() -> None:
    agreed = agree(
        request(
            ProposedContext(1, WORKLIST, (IMPLICIT,)),
            ProposedContext(3, CT, (IMPLICIT,)),
            roles=(Role(WORKLIST, scu=True, scp=True), Role(CT, scu=True, scp=True)),
        )
    )
    assert agreed.accept.user.roles == (
        Role(WORKLIST, scu=True, scp=False),
        Role(CT, scu=False, scp=True),
    )
    assert set(agreed.contexts) == {1, 3}


def test_a_context_is_refused_when_no_role_is_left() -> None:
    agreed = agree(
        request(
            ProposedContext(1, WORKLIST, (IMPLICIT,)),
            ProposedContext(3, CT, (IMPLICIT,)),
            roles=(Role(WORKLIST, scu=False, scp=True),),
        )
    )
    assert results(agreed) == [(1, Result.USER_REJECTION), (3, Result.USER_REJECTION)]
    assert agreed.accept.user.roles == ()


def test_roles_of_classes_without_a_context_are_not_answered() -> None:
    agreed = agree(
        request(
            ProposedContext(1, ECHO, (IMPLICIT,)),
            roles=(Role(WORKLIST, scu=True, scp=False), Role("1.2.3", scu=True, scp=False)),
        )
    )
    assert agreed.accept.user.roles == ()


def test_an_asynchronous_window_becomes_one_operation_at_a_time() -> None:
    assert agree(request(asynchronous=(0, 0))).accept.user.asynchronous == (1, 1)
    assert agree(request()).accept.user.asynchronous is None


def test_extended_negotiation_is_turned_down_field_by_field() -> None:
    agreed = agree(
        request(
            ProposedContext(1, WORKLIST, (IMPLICIT,)),
            extended=(
                ExtendedItem(WORKLIST, b"\1\1\1\1"),
                ExtendedItem("1.2.3", b"\1"),
            ),
        )
    )
    assert agreed.accept.user.extended == (ExtendedItem(WORKLIST, bytes(4)),)


def test_the_implementation_names_itself_within_the_fields() -> None:
    user = agree(request()).accept.user
    assert user.implementation_uid == IMPLEMENTATION_UID
    assert len(IMPLEMENTATION_UID) <= 64
    assert 1 <= len(user.implementation_version) <= 16  # PS3.7 D.3.3.2
    assert user.max_pdu_bytes == LIMITS.max_receive_pdu_bytes
