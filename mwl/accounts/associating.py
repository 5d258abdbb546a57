"""Users of DICOM peers, as their association requests name them (PS3.7 D.3.3.7).

A username alone proves nothing, grants nothing, and is logged. With a password it is held
against the accounts by the rules of signing in: locks, waiting and the audit trail are the
same. A scanner asks for an association every few seconds with the same password; so what was
right is remembered for a while, without the password, and not recorded again.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Literal

import structlog

from mwl.accounts.people import fold
from mwl.accounts.signing_in import Refusal, account_named, came_in, is_locked, proven
from mwl.audit import Actor
from mwl.db import Database

log = structlog.get_logger(__name__)

_REMEMBERED_S = 300.0
_MOST_REMEMBERED = 1_000
_MOST_WAITING = 8  # for a password to be hashed; the others are told to come back
_LONGEST_NAME = 64


class Kind(IntEnum):
    """PS3.7 table D.3-14; Kerberos, SAML and JWT, 3 to 5, are nothing that we can read."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2


class Identity(Enum):
    """What is known of a peer's user."""

    UNKNOWN = "none is named, or not in a way that we look at"
    NAMED = "named without a proof"
    PROVEN = "known by the password"
    REFUSED = "not proven"
    BUSY = "too many wait for theirs to be checked"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a peer says uses it: the fields of the user identity as they came.

    `calling` is the peer's AE title, `address` its IP address.
    """

    kind: int
    primary: bytes = field(repr=False)
    secondary: bytes = field(repr=False)
    calling: str
    address: str


class Users:
    """Hold claims against the accounts; create it after the fork. Threads may share it."""

    def __init__(self, database: Database, mode: Literal["off", "optional", "required"]) -> None:
        self._database = database
        self._mode = mode
        self._secret = secrets.token_bytes()
        self._waiting = BoundedSemaphore(_MOST_WAITING)
        self._lock = Lock()  # guards the next
        # By whom and what was claimed: until when it holds, for which hash of a password.
        self._remembered: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def check(self, claim: Claim | None, *, now: datetime) -> Identity:
        """Tell what a claim is worth. Raises Outage."""
        if self._mode == "off":
            return Identity.UNKNOWN
        if claim is not None and claim.kind == Kind.USERNAME_AND_PASSCODE:
            return self._proof(claim, now)
        if self._mode == "required":
            return Identity.REFUSED
        if claim is None:
            return Identity.UNKNOWN
        if claim.kind != Kind.USERNAME:
            _log(log.info, "identity.of_unknown_kind", claim, kind=str(claim.kind))
            return Identity.UNKNOWN
        _log(log.info, "identity.named", claim, user=_name(claim.primary))
        return Identity.NAMED

    def _proof(self, claim: Claim, now: datetime) -> Identity:
        name = fold(_name(claim.primary))
        mark = self._mark(name, claim)
        if self._is_remembered(mark, name, now):
            return Identity.PROVEN
        if not self._waiting.acquire(blocking=False):
            _log(log.warning, "identity.busy", claim)
            return Identity.BUSY
        try:
            return self._checked(name, mark, claim, now)
        finally:
            self._waiting.release()

    def _checked(self, name: str, mark: bytes, claim: Claim, now: datetime) -> Identity:
        detail = {"over": "DICOM", "ae_title": claim.calling}
        actor = Actor(name, "", claim.address)
        # No account has a password that isn't UTF-8; what it becomes is as wrong as any.
        password = claim.secondary.decode("utf-8", "replace")
        row = proven(self._database, actor, password, now=now, detail=detail)
        if isinstance(row, Refusal):
            _log(log.warning, "identity.refused", claim, why=str(row))
            return Identity.REFUSED
        if row.must_change:  # as in a browser, nothing may be done before
            _log(log.warning, "identity.refused", claim, why="the password is to be changed first")
            return Identity.REFUSED
        self._database.write(lambda s: came_in(s, row, claim.address, now=now, detail=detail))
        with self._lock:
            self._remembered[mark] = monotonic() + _REMEMBERED_S, row.password_hash
            while len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return Identity.PROVEN

    def _mark(self, name: str, claim: Claim) -> bytes:
        """Make of a claim what tells it from others, and tells nobody the password."""
        told = b"\0".join((name.encode(), claim.address.encode(), claim.secondary))
        return hmac.digest(self._secret, told, hashlib.sha256)

    def _is_remembered(self, mark: bytes, name: str, now: datetime) -> bool:
        with self._lock:
            until, password_hash = self._remembered.get(mark, (0.0, ""))
        if monotonic() >= until:
            return False
        with self._database.read() as session:
            row = account_named(session, name)
        return (
            row is not None
            and not row.disabled
            and not is_locked(row, now=now)
            and row.password_hash == password_hash
        )


def _log(write: Callable[..., object], event: str, claim: Claim, **more: str) -> None:
    write(event, calling=claim.calling, address=claim.address, **more)


def _name(primary: bytes) -> str:
    """Read a username; what can't be printed becomes "?", so that it may be kept."""
    text = primary[: 4 * _LONGEST_NAME].decode("utf-8", "replace").strip(" \0")[:_LONGEST_NAME]
    return "".join(each if each.isprintable() else "?" for each in text)
