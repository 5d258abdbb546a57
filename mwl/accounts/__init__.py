"""Accounts: who may sign in, with which role, and what proves who they are.

Start reading at `signing_in.py`; `keeping.py` is what administrators do. Passwords are kept
as argon2id hashes; what a cookie or a bearer token holds is random and kept as its SHA-256,
so that a copy of the database lets nobody in. Everything that decides stands in the
database: any process may answer.
"""

from mwl.accounts.associating import Claim, Identity, Users
from mwl.accounts.keys import shared_key
from mwl.accounts.people import (
    Role,
    add,
    change_password,
    disable,
    first_admin,
    fold,
    listing,
    reset,
    state,
)
from mwl.accounts.sessions import Bounds, Session, ended, find, sign_out
from mwl.accounts.signing_in import Refusal, sign_in
from mwl.accounts.tokens import (
    Bearer,
    add_token,
    find_token,
    is_expired,
    list_tokens,
    remove_token,
)

__all__ = [
    "Bearer",
    "Bounds",
    "Claim",
    "Identity",
    "Refusal",
    "Role",
    "Session",
    "Users",
    "add",
    "add_token",
    "change_password",
    "disable",
    "ended",
    "find",
    "find_token",
    "first_admin",
    "fold",
    "is_expired",
    "list_tokens",
    "listing",
    "remove_token",
    "reset",
    "shared_key",
    "sign_in",
    "sign_out",
    "state",
]
