"""The names of objects: ours alone, from random bytes.

`ab/cd/` and 32 hexadecimal digits. A UID, a patient ID or an AE title is never part of a
name, and what an index row claims to be a key is looked at before it touches a path.
"""

import re
import secrets

from mwl.objects.store import Missing

FOLDER = re.compile(r"[0-9a-f]{2}")
NAME = re.compile(r"[0-9a-f]{32}\.dcm")
_KEY = re.compile(rf"{FOLDER.pattern}/{FOLDER.pattern}/{NAME.pattern}")


def new_folder() -> str:
    """Choose one of 65,536 folders."""
    digits = secrets.token_hex(2)
    return f"{digits[:2]}/{digits[2:]}"


def new_name() -> str:
    """Make a name that was never used."""
    return f"{secrets.token_hex(16)}.dcm"


def is_key(text: str) -> bool:
    """Tell whether it is a name of ours."""
    return _KEY.fullmatch(text) is not None


def checked(key: str) -> str:
    """Return `key`; Missing if it can't be one of ours."""
    if not is_key(key):
        raise Missing(f"{key[:80]!r} is no key of the object store")
    return key
