"""Programs that nobody here wrote, found outside the virtual environment."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest

# Where Debian keeps daemons, which users' PATH often leaves out.
_ALSO = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def require(name: str) -> str:
    """Return the path of a program; without it skip, or fail under MWL_REQUIRE_PEERS=1.

    The environment's own programs don't count: pynetdicom's findscu is no peer of ours.
    """
    own = {Path(sysconfig.get_path("scripts")).resolve(), Path(sys.executable).parent.resolve()}
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *_ALSO]
    found = shutil.which(
        name, path=os.pathsep.join(f for f in folders if f and Path(f).resolve() not in own)
    )
    return found or missing(f"{name} is not installed on this machine")


def dcmtk(name: str) -> str:
    """Return the path of a program of DCMTK: findscu, echoscu, wlmscpfs, dump2dcm, …"""
    return require(name)


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where all peers are promised."""
    if os.environ.get("MWL_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
