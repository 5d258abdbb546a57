"""A child of `mwl.pictures` that does what its object says: hang, die, or answer.

`python hanging_child.py parent WHAT` is its parent instead: it says its child's number,
and asks it.
"""

import os
import signal
import sys
import time
from typing import Any, BinaryIO

from mwl.pictures import child


def act(file: BinaryIO, _request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    content = file.read()
    if content == b"hang":
        # As a library in C would: deaf to whatever Python does.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        while True:
            time.sleep(60)
    if content == b"die":
        os.kill(os.getpid(), signal.SIGSEGV)
    return {}, content


def _parent(content: str) -> None:
    from mwl.pictures import Limits
    from mwl.pictures.process import Child

    made = Child(Limits(seconds=3), command=(sys.executable, __file__))
    print(made.pid, flush=True)
    made.ask(
        b'{"task": "frame", "bytes": %d}' % len(content),
        lambda start, length: content.encode()[start : start + length],
    )
    time.sleep(60)


if __name__ == "__main__":
    if sys.argv[1] == "parent":
        _parent(sys.argv[2])
    child._tasks = lambda: {"frame": act}
    child.main()
