"""The users that peers name in their association requests, held against the accounts."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from argon2 import PasswordHasher
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from sqlalchemy import select, update
from structlog.testing import capture_logs

from mwl import accounts
from mwl.accounts import Claim, Identity, Role, Users, associating, passwords
from mwl.accounts.people import ACCOUNT
from mwl.db import Database
from mwl.db.tables import AuditEvent
from mwl.devices import Doorkeeper
from mwl.net.codec import encode
from mwl.net.pdu import (
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    UserIdentity,
    UserInformation,
    title_bytes,
)
from mwl.roles.door import admission
from tests import peers
from tests.dicom_client import DicomClient, Refused
from tests.dicom_server import Serve, serve_fixture  # noqa: F401
from tests.serving import served

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
PASSWORD = "correct-horse-battery"
ECHO, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", lambda: cheap)
    passwords._nobodys.cache_clear()


@pytest.fixture
def people(sqlite_database: Database) -> Database:
    """A database with the account anna, whose password is PASSWORD."""
    database = sqlite_database
    database.write(lambda s: accounts.add(s, "anna", Role.VIEWER, now=NOW))
    change(database, password_hash=passwords.hashed(PASSWORD), must_change=False)
    return database


def change(database: Database, **values: object) -> None:
    database.write(lambda s: s.connection().execute(update(ACCOUNT).values(values)))


def claim(
    password: str | None = PASSWORD, name: str = "anna", kind: int = 2, address: str = "10.0.0.2"
) -> Claim:
    return Claim(kind, name.encode(), (password or "").encode(), "CT1", address)


def audited(database: Database) -> list[tuple[str, str, str, dict[str, object]]]:
    with database.read() as session:
        rows = session.execute(select(AuditEvent).order_by(AuditEvent.id)).scalars()
        return [(row.who, row.action, row.address, row.detail) for row in rows]


@pytest.mark.parametrize(
    ("mode", "given", "worth"),
    [
        ("off", claim("wrong"), Identity.UNKNOWN),
        ("off", None, Identity.UNKNOWN),
        ("optional", None, Identity.UNKNOWN),
        ("optional", claim(None, kind=1), Identity.NAMED),
        ("optional", claim(None, "nobody", kind=1), Identity.NAMED),
        ("optional", claim(), Identity.PROVEN),
        ("optional", claim(name=" ANNA\0"), Identity.PROVEN),
        ("optional", claim("wrong"), Identity.REFUSED),
        ("optional", claim(""), Identity.REFUSED),
        ("optional", claim(name="nobody"), Identity.REFUSED),
        ("optional", claim(name=""), Identity.REFUSED),
        ("optional", claim(kind=3), Identity.UNKNOWN),
        ("optional", claim(kind=0), Identity.UNKNOWN),
        ("required", None, Identity.REFUSED),
        ("required", claim(None, kind=1), Identity.REFUSED),
        ("required", claim(), Identity.PROVEN),
        ("required", claim("wrong"), Identity.REFUSED),
        ("required", claim(kind=3), Identity.REFUSED),
        ("required", claim(kind=4), Identity.REFUSED),
        ("required", claim(kind=5), Identity.REFUSED),
    ],
)
def test_a_claim_is_worth_what_the_mode_and_the_accounts_say(
    people: Database, mode: str, given: Claim | None, worth: Identity
) -> None:
    assert Users(people, mode).check(given, now=NOW) is worth


def test_what_happens_is_in_the_audit_trail_with_the_title(people: Database) -> None:
    users = Users(people, "optional")
    users.check(claim(), now=NOW)
    users.check(claim("wrong"), now=NOW)
    users.check(claim(name="eve\0\n"), now=NOW)
    detail = {"over": "DICOM", "ae_title": "CT1"}
    assert audited(people) == [
        ("anna", "sign-in", "10.0.0.2", detail),
        ("anna", "sign-in failed", "10.0.0.2", detail),
        ("eve??", "sign-in failed", "10.0.0.2", detail),
    ]


def test_wrong_passwords_lock_the_account_here_and_in_browsers(people: Database) -> None:
    users = Users(people, "optional")
    assert users.check(claim(), now=NOW) is Identity.PROVEN  # and is remembered
    for _ in range(3):
        users.check(claim("wrong"), now=NOW)
    for _ in range(2):
        accounts.sign_in(people, "anna", "wrong", "10.0.0.9", now=NOW)
    assert users.check(claim(), now=NOW) is Identity.REFUSED
    locked = accounts.sign_in(people, "anna", PASSWORD, "10.0.0.9", now=NOW)
    assert locked is accounts.Refusal.LOCKED
    later = NOW + timedelta(minutes=2)
    assert users.check(claim(), now=later) is Identity.PROVEN


def test_an_address_that_fails_often_waits(people: Database) -> None:
    users = Users(people, "optional")
    for number in range(50):
        users.check(claim(name=f"n{number}"), now=NOW)
    assert users.check(claim(), now=NOW) is Identity.REFUSED
    assert users.check(claim(address="10.0.0.3"), now=NOW) is Identity.PROVEN


@pytest.mark.parametrize("barred", [{"disabled": True}, {"must_change": True}])
def test_who_may_not_sign_in_is_refused(people: Database, barred: dict[str, bool]) -> None:
    change(people, **barred)
    assert Users(people, "optional").check(claim(), now=NOW) is Identity.REFUSED


def test_a_password_that_was_right_is_not_hashed_again_for_a_while(
    people: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    right = passwords.is_right

    def counted(password: str, password_hash: str) -> bool:
        hashed.append(password)
        return right(password, password_hash)

    monkeypatch.setattr(passwords, "is_right", counted)
    users = Users(people, "required")
    for _ in range(3):
        assert users.check(claim(), now=NOW) is Identity.PROVEN
    assert (len(hashed), len(audited(people))) == (1, 1)
    users.check(claim(address="10.0.0.3"), now=NOW)  # an event of its own
    assert (len(hashed), len(audited(people))) == (2, 2)
    monkeypatch.setattr(associating, "_REMEMBERED_S", -1.0)
    users.check(claim(address="10.0.0.4"), now=NOW)
    users.check(claim(address="10.0.0.4"), now=NOW)
    assert len(hashed) == 4
    for barred in ({"disabled": True}, {"password_hash": passwords.hashed("another one")}):
        change(people, **barred)
        assert users.check(claim(), now=NOW) is Identity.REFUSED
        change(people, disabled=False)


def test_what_is_remembered_is_bounded_and_holds_no_password(
    people: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(associating, "_MOST_REMEMBERED", 2)
    users = Users(people, "optional")
    for number in range(4):
        users.check(claim(address=f"10.0.0.{number}"), now=NOW)
    assert len(users._remembered) == 2
    assert PASSWORD not in repr(users._remembered)


def test_those_who_would_wait_for_long_are_told_to_come_back(
    people: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, entered = Event(), Event()

    def slow(_password: str, _hash: str) -> bool:
        entered.set()
        return hold.wait(30)

    monkeypatch.setattr(associating, "_MOST_WAITING", 1)
    monkeypatch.setattr(passwords, "is_right", slow)
    users = Users(people, "optional")
    first: list[Identity] = []
    waiting = Thread(target=lambda: first.append(users.check(claim(), now=NOW)))
    waiting.start()
    assert entered.wait(30)
    assert users.check(claim(address="10.0.0.3"), now=NOW) is Identity.BUSY
    hold.set()
    waiting.join()
    assert first == [Identity.PROVEN]
    assert users.check(claim(address="10.0.0.3"), now=NOW) is Identity.PROVEN


# --- on the wire

Ask = Callable[..., AssociateAccept | AssociateReject]


@pytest.fixture
def ask(people: Database, serve: Serve) -> Ask:
    """Ask a server for an association as some user; give its answer."""

    def asking(mode: str, identity: UserIdentity | None) -> AssociateAccept | AssociateReject:
        door = Doorkeeper(people, ae_title="MWL", mode="any", host="127.0.0.1")
        server = serve(admit=admission(door, Users(people, mode)))
        user = UserInformation(16384, "1.2.3", identity=identity)
        context = ProposedContext(1, ECHO, (IMPLICIT,))
        proposal = AssociateRequest(title_bytes("MWL"), title_bytes("CT1"), (context,), user)
        with DicomClient(server.address) as client:
            client.send(encode(proposal))
            answer = client.read_pdu()
        assert isinstance(answer, AssociateAccept | AssociateReject)
        return answer

    return asking


NOT_AUTHORIZED = AssociateReject(1, 2, 1)  # PS3.7 D.3.3.7: permanent, ACSE, no reason given


@pytest.mark.parametrize(
    ("mode", "identity", "response"),
    [
        ("optional", None, None),
        ("optional", UserIdentity(2, b"anna", PASSWORD.encode()), None),
        ("optional", UserIdentity(2, b"anna", PASSWORD.encode(), wants_response=True), b""),
        ("optional", UserIdentity(1, b"anna", wants_response=True), b""),
        ("optional", UserIdentity(3, b"ticket", wants_response=True), None),
        ("off", UserIdentity(2, b"anna", b"wrong", wants_response=True), None),
        ("required", UserIdentity(2, b"anna", PASSWORD.encode(), wants_response=True), b""),
    ],
)
def test_who_is_accepted_is_told_so_if_it_wants_to_know(
    ask: Ask, mode: str, identity: UserIdentity | None, response: bytes | None
) -> None:
    answer = ask(mode, identity)
    assert isinstance(answer, AssociateAccept)
    assert answer.user.identity_response == response


@pytest.mark.parametrize(
    ("mode", "identity"),
    [
        ("optional", UserIdentity(2, b"anna", b"wrong password")),
        ("optional", UserIdentity(2, b"\xff\xfe", b"\xff\0\x80")),
        ("required", None),
        ("required", UserIdentity(1, b"anna", wants_response=True)),
        ("required", UserIdentity(4, b"<assertion/>" * 100)),
        ("required", UserIdentity(5, b"a.b.c")),
    ],
)
def test_who_is_not_accepted_is_refused_for_good_and_nothing_is_logged_of_it(
    ask: Ask, mode: str, identity: UserIdentity | None
) -> None:
    with capture_logs() as logs:
        assert ask(mode, identity) == NOT_AUTHORIZED
    said = json.dumps(logs, default=str)
    assert "association.rejected" in said
    for secret in ("wrong password", "assertion", "a.b.c"):
        assert secret not in said


def test_a_server_that_asks_for_users_lets_in_nobody_without(tmp_path: Path) -> None:
    with served(tmp_path, MWL_DICOM__USER_IDENTITY="required") as server:
        address = "127.0.0.1", server.ports["dicom"]
        with DicomClient(address) as client, pytest.raises(Refused) as told:
            client.associate()
        assert told.value.answer == NOT_AUTHORIZED


def test_dcmtk_signs_in(people: Database, serve: Serve, tmp_path: Path) -> None:
    door = Doorkeeper(people, ae_title="MWL", mode="any", host="127.0.0.1")
    server = serve(admit=admission(door, Users(people, "required")))
    file = tmp_path / "some.dcm"
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    made.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)

    def storescu(*options: str) -> str:
        where = ("127.0.0.1", str(server.address[1]), str(file))
        done = subprocess.run(
            [peers.dcmtk("storescu"), "-v", "-aec", "MWL", *options, *where],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr

    # It serves no images here: what counts is how far it comes.
    right = storescu("-usr", "anna", "-pwd", PASSWORD, "-rsp")
    assert "Association Accepted" in right or "No Acceptable Presentation" in right, right
    refused = storescu("-usr", "anna", "-pwd", "wrong")
    assert "Rejected Permanent, Source: Service Provider (ACSE Related)" in refused, refused
    assert "Rejected Permanent" in storescu()


def test_pynetdicom_signs_in(people: Database, serve: Serve) -> None:
    door = Doorkeeper(people, ae_title="MWL", mode="any", host="127.0.0.1")
    server = serve(admit=admission(door, Users(people, "required")))
    who = UserIdentityNegotiation()
    who.user_identity_type, who.primary_field = 2, b"anna"
    who.secondary_field, who.positive_response_requested = PASSWORD.encode(), True
    ae = AE("CT1")
    ae.add_requested_context(ECHO)
    for password, accepted in ((PASSWORD.encode(), True), (b"wrong", False)):
        who.secondary_field = password
        asked = ae.associate(*server.address, ae_title="MWL", ext_neg=[who])
        assert asked.is_established == accepted
        if accepted:
            assert asked.acceptor.user_identity is not None
            assert asked.send_c_echo().Status == 0
            asked.release()
