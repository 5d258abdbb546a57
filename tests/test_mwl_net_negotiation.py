"""From a proposal to the answer; no sockets."""

from dataclasses import replace
from itertools import product

import pytest

from mwl.net import options
from mwl.net.codec import HEADER, decode, encode
from mwl.net.dimse import Context
from mwl.net.limits import Limits
from mwl.net.negotiation import IMPLEMENTATION_UID, Agreement, Result, Supported, negotiate
from mwl.net.options import Options
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
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG, J2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
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


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ((IMPLICIT, EXPLICIT), EXPLICIT),
        ((IMPLICIT,), IMPLICIT),
        ((BIG_ENDIAN, IMPLICIT), IMPLICIT),
        ((BIG_ENDIAN,), BIG_ENDIAN),
        ((EXPLICIT, JPEG, IMPLICIT), EXPLICIT),
        ((IMPLICIT, JPEG), IMPLICIT),
        ((JPEG, EXPLICIT, IMPLICIT), JPEG),
        ((J2K, JPEG, EXPLICIT), J2K),
        (("1.2.3", JPEG, EXPLICIT), JPEG),
        (("1.2.3",), None),
    ],
)
def test_an_image_is_taken_compressed_where_that_is_proposed_first(
    offered: tuple[str, ...], taken: str | None
) -> None:
    ours = (EXPLICIT, IMPLICIT, BIG_ENDIAN, JPEG, J2K)
    proposal = request(ProposedContext(1, CT, offered), ProposedContext(3, ECHO, offered))
    images, others = Supported(ours, theirs_first=True), Supported(ours)
    agreed = negotiate(proposal, {CT: images, ECHO: others}, LIMITS)
    assert isinstance(agreed, Agreement)
    assert (agreed.contexts[1].transfer_syntax if 1 in agreed.contexts else None) == taken
    # What is no image is taken in the form that we like best.
    best = next((each for each in ours if each in offered), None)
    assert (agreed.contexts[3].transfer_syntax if 3 in agreed.contexts else None) == best


GET = "1.2.840.10008.5.1.4.1.2.2.3"


@pytest.mark.parametrize("offered", [(J2K, EXPLICIT, IMPLICIT), (J2K, IMPLICIT), (JPEG, EXPLICIT)])
@pytest.mark.parametrize("roles", [(), (Role(CT, False, True),), (Role(CT, True, True),)])
def test_who_takes_images_by_c_get_takes_them_uncompressed_where_it_can(
    offered: tuple[str, ...], roles: tuple[Role, ...]
) -> None:
    """All that is kept can be written so, whatever it is compressed in or isn't."""
    ours = (EXPLICIT, IMPLICIT, JPEG, J2K)
    supported = {
        GET: Supported((EXPLICIT,), invokes=True),
        CT: Supported(ours, requestor_may_be_scp=True, theirs_first=True),
    }
    contexts = ProposedContext(1, GET, (EXPLICIT,)), ProposedContext(3, CT, offered)
    agreed = negotiate(request(*contexts, roles=roles), supported, LIMITS)
    assert isinstance(agreed, Agreement)
    assert agreed.contexts[3].transfer_syntax == offered[1]


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


BOTH_WAYS = list(product((False, True), repeat=2))
GET = "1.2.840.10008.5.1.4.1.2.2.3"


@pytest.mark.parametrize("retrieves", [False, True])
@pytest.mark.parametrize("allowed", BOTH_WAYS)
@pytest.mark.parametrize("proposed", [None, *BOTH_WAYS])
def test_the_requestor_is_what_it_proposed_and_may_be(
    proposed: tuple[bool, bool] | None, allowed: tuple[bool, bool], retrieves: bool
) -> None:
    """PS3.7 table D.3-11; without an item, SCU, and SCP of what it retrieves."""
    supported = {
        CT: Supported(
            (IMPLICIT,), requestor_may_be_scu=allowed[0], requestor_may_be_scp=allowed[1]
        ),
        GET: Supported((IMPLICIT,), invokes=True),
    }
    asked = request(
        ProposedContext(1, CT, (IMPLICIT,)),
        *([ProposedContext(3, GET, (IMPLICIT,))] if retrieves else []),
        # The first item for a class counts, and one without a context is nobody's.
        roles=(Role(CT, *proposed), Role(CT, scu=True, scp=True)) if proposed else (),
    )
    agreed = negotiate(asked, supported, LIMITS)
    assert isinstance(agreed, Agreement)
    scu, scp = proposed or (True, retrieves)
    scu, scp = scu and allowed[0], scp and allowed[1]
    assert (1 in agreed.contexts) == (scu or scp)
    if 1 in agreed.contexts:
        assert agreed.contexts[1].may_invoke == scp
        assert agreed.accept.user.roles == ((Role(CT, scu, scp),) if proposed else ())
    else:
        assert results(agreed)[0] == (1, Result.USER_REJECTION)
        assert agreed.accept.user.roles == ()


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


# --- options


def agreed_options(uid: str, asked: bytes, ours: Options) -> tuple[bytes | None, Options]:
    """Negotiate one SOP class; give what is answered, and what holds for its context."""
    proposal = request(
        ProposedContext(1, uid, (IMPLICIT,)),
        extended=(ExtendedItem("1.2.3", b"\1"), ExtendedItem(uid, asked)),
    )
    agreed = negotiate(proposal, {uid: Supported((IMPLICIT,), options=ours)}, LIMITS)
    assert isinstance(agreed, Agreement)
    answers = {item.sop_class: item.information for item in agreed.accept.user.extended}
    assert answers.keys() <= {uid}
    return answers.get(uid), agreed.contexts[1].options


ALL = Options(*[True] * 6)
STUDY_FIND, STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_FIND, PATIENT_GET = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.1.3"


@pytest.mark.parametrize(
    ("uid", "asked", "ours", "answer", "agreed"),
    [
        # PS3.4 table C.5-1: seven bytes, and six of them older than the others
        (STUDY_FIND, b"\1\1\1\1\1\1\1", ALL, b"\1\1\1\1\0\1\1", ALL),
        (PATIENT_FIND, b"\1", ALL, b"\1", Options(relational=True)),
        (STUDY_FIND, b"\0\1", ALL, b"\0\1", Options(combined_date_time=True)),
        (STUDY_FIND, b"\1\1\1", Options(fuzzy=True), b"\0\0\1", Options(fuzzy=True)),
        (STUDY_FIND, b"\0\0\0\1", ALL, b"\0\0\0\1", Options(timezone=True)),
        (STUDY_FIND, b"\1" * 60, ALL, b"\1\1\1\1\0\1\1", ALL),
        (STUDY_FIND, b"\2\xff", ALL, b"\0\0", Options()),
        (STUDY_FIND, b"", ALL, None, Options()),
        # table C.5-3
        (STUDY_MOVE, b"\1\1", ALL, b"\1\0", Options(relational=True)),
        (PATIENT_GET, b"\1", Options(), b"\0", Options()),
        # table K.5-1: the first two are reserved and always 1
        (WORKLIST, b"\1\1\1\1", ALL, b"\1\1\1\1", Options(fuzzy=True, timezone=True)),
        (WORKLIST, b"\1\1\1", ALL, b"\1\1\1", Options(fuzzy=True)),
        (WORKLIST, b"\0\0\0\1", ALL, b"\1\1\0\1", Options(timezone=True)),
        (WORKLIST, b"\1\1\1\1", Options(), b"\1\1\0\0", Options()),
        # no options of ours
        (CT, b"\2\0\3\0\1", ALL, None, Options()),
        (ECHO, b"\1", ALL, None, Options()),
    ],
)
def test_options_are_agreed_on_that_both_have(
    uid: str, asked: bytes, ours: Options, answer: bytes | None, agreed: Options
) -> None:
    assert agreed_options(uid, asked, ours) == (answer, agreed)


def test_options_are_answered_for_accepted_classes_alone_and_once() -> None:
    supported = {
        uid: Supported((IMPLICIT,), options=ALL) for uid in (WORKLIST, STUDY_FIND, STUDY_MOVE)
    }
    items = (ExtendedItem(STUDY_FIND, b"\0"), ExtendedItem(STUDY_FIND, b"\1"))
    proposal = request(
        ProposedContext(1, STUDY_FIND, (IMPLICIT,)),
        ProposedContext(3, STUDY_FIND, (EXPLICIT, IMPLICIT)),
        ProposedContext(5, WORKLIST, (JPEG,)),
        extended=(*items, ExtendedItem(WORKLIST, b"\1\1\1"), ExtendedItem(STUDY_MOVE, b"\1")),
    )
    agreed = negotiate(proposal, supported, LIMITS)
    assert isinstance(agreed, Agreement)
    assert agreed.accept.user.extended == (ExtendedItem(STUDY_FIND, b"\0"),)
    assert {context.options for context in agreed.contexts.values()} == {Options()}


def test_what_we_propose_is_read_as_it_was_meant() -> None:
    for uid, wanted in ((WORKLIST, Options(fuzzy=True)), (STUDY_MOVE, Options(relational=True))):
        assert options.asked(options.proposal(uid, wanted)) == wanted
    assert options.proposal(WORKLIST, Options(timezone=True)).information == b"\1\1\0\1"


def test_the_implementation_names_itself_within_the_fields() -> None:
    user = agree(request()).accept.user
    assert user.implementation_uid == IMPLEMENTATION_UID
    assert len(IMPLEMENTATION_UID) <= 64
    assert 1 <= len(user.implementation_version) <= 16  # PS3.7 D.3.3.2
    assert user.max_pdu_bytes == LIMITS.max_receive_pdu_bytes
