"""Children that die with their parent, so that after a kill -9 no orphan keeps a port.

Linux does it: prctl(PR_SET_PDEATHSIG). Elsewhere each child watches a pipe whose other end
nobody but the parent holds.
"""

import ctypes
import os
import signal
import sys
from threading import Thread

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class Lifeline:
    """Made by a parent before it forks; each child takes hold of it first of all."""

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._read, self._write = os.pipe()

    def hold(self, *, by_kernel: bool = sys.platform == "linux") -> None:
        """Die by SIGKILL, or at once in another way, when the parent is gone.

        The kernel counts the parent's *thread* that forked as the parent: fork from the
        main thread.
        """
        os.close(self._write)  # or we, and our siblings, would keep each other's pipe open
        if not (by_kernel and _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)):
            Thread(target=self._watch, name="lifeline", daemon=True).start()
        if os.getppid() != self._parent:
            os._exit(1)  # it died before we took hold

    def _watch(self) -> None:
        os.read(self._read, 1)  # the end of the stream: nothing is ever written
        os._exit(1)


def name_process(name: str) -> None:
    """Show `name` in `ps` and `top`, where the system can."""
    if sys.platform == "linux":
        _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]))


def _prctl(option: int, value: object) -> bool:
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
