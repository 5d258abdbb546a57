"""Passwords: made, judged, hashed, verified."""

import secrets
from functools import lru_cache
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from mwl.errors import Fault, Reason, Rejected

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST = 10
_LONGEST = 256  # characters; hashing more would be a way to keep us busy
# Without what is easily taken for something else.
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
# Each takes 64 MiB and a core for a moment.
_AT_ONCE = BoundedSemaphore(2)


def generate() -> str:
    """Make a password that can be read out over the telephone: some 74 bits."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(3))
    return "-".join(groups)


def check(password: str, name: str) -> None:
    """Raise Rejected unless it is one that may be used by the account `name`."""
    if not SHORTEST <= len(password) <= _LONGEST:
        text = f"has {SHORTEST} to {_LONGEST} characters"
        raise Rejected(Fault(Reason.MALFORMED, "password", text))
    if name in password.casefold() or len(set(password)) < 5:
        text = "is too easy to guess: it has the account's name in it, or few different characters"
        raise Rejected(Fault(Reason.MALFORMED, "password", text))


def hashed(password: str) -> str:
    """Hash a password, with a salt and the parameters of today."""
    with _AT_ONCE:
        return _hasher().hash(password)


def is_right(password: str, password_hash: str) -> bool:
    """Tell whether it is the password; it takes as long where there is none (`""`)."""
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > _LONGEST:
        return False
    try:
        with _AT_ONCE:
            _hasher().verify(password_hash or _nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(password_hash)


@lru_cache(maxsize=1)
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)  # RFC 9106 4


@lru_cache(maxsize=1)
def _nobodys() -> str:
    return _hasher().hash(secrets.token_hex())
