"""A device does what its registration lets it do."""

from mwl.net.status import NOT_AUTHORIZED, SUCCESS
from mwl.scp.guarded import Guarded
from tests.dicom_client import MODALITY_WORKLIST_FIND, VERIFICATION
from tests.dicom_server import BOTH, IDENTIFIER, Dial, Serve, answer, dial_fixture, serve_fixture

__all__ = ["dial_fixture", "serve_fixture"]


def test_peer_that_may_not_is_told_so_and_stays_associated(serve: Serve, dial: Dial) -> None:
    server = serve(Guarded(answer([IDENTIFIER]), lambda peer: peer.calling_title == "CT1"))
    stranger = dial(server).associate(BOTH, calling="CT2")
    assert [code for code, _ in stranger.find(IDENTIFIER)] == [NOT_AUTHORIZED]
    assert stranger.echo() == SUCCESS


def test_peer_that_may_is_answered(serve: Serve, dial: Dial) -> None:
    server = serve(Guarded(answer([IDENTIFIER]), lambda peer: peer.calling_title == "CT1"))
    friend = dial(server).associate((MODALITY_WORKLIST_FIND, VERIFICATION), calling="CT1")
    assert [code for code, _ in friend.find(IDENTIFIER)] == [0xFF00, SUCCESS]
