"""The process in which objects are read: `python -m mwl.pictures.child SECONDS BYTES`.

It answers on standard output what it is asked on standard input, one question at a time. A
question that takes too long ends it: the kernel's alarm needs neither the parent, who may be
dead, nor the interpreter, which a decoder may hold.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from mwl.lifeline import name_process
from mwl.pictures.source import opened
from mwl.pictures.wire import HEAD, WISH, Kind, message, packed

_GRACE_S = 2  # the parent is to be the one that ends it
_LONGEST_TEXT = 300

Answer = tuple[dict[str, Any], bytes]
Task = Callable[[Any, dict[str, Any]], Answer]


def main() -> None:
    """Work until nobody asks any more."""
    name_process("mwl-pictures")
    # A signal that our parent holds back would never come: the alarm neither.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    seconds, memory = int(sys.argv[1]), int(sys.argv[2])
    # What libraries print must not come between two messages.
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    asked = os.fdopen(os.dup(0), "rb")
    tasks = _tasks()
    _confine(memory)
    _say(pipe, Kind.READY)
    while (request := _heard(asked)) is not None:
        signal.alarm(seconds + _GRACE_S)
        _answer(tasks, json.loads(request), asked, pipe)
        signal.alarm(0)


def _tasks() -> dict[str, Task]:
    """Load all that is ever needed, before memory is bounded."""
    from mwl.pictures import content, elements, frame, native

    frame.load()
    return {
        "frame": frame.picture,
        "native": native.native,
        "header": elements.header,
        "report": content.report,
        "document": content.document,
    }


def _confine(memory: int) -> None:
    """Take this process what it doesn't need: memory, files to write, dumps of patient data."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        base = int(statm.read_text("ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (base + memory, base + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear


def _answer(
    tasks: dict[str, Task], request: dict[str, Any], asked: BinaryIO, pipe: BinaryIO
) -> None:
    def fetch(start: int, length: int) -> bytes:
        _say(pipe, Kind.WANT, WISH.pack(start, length))
        piece = _heard(asked)
        if piece is None:
            sys.exit()
        return piece

    try:
        meta, body = tasks[request["task"]](opened(request["bytes"], fetch), request)
    except MemoryError:
        _say(pipe, Kind.LAST, b"it takes more memory than it is given")
        sys.exit()
    except RecursionError:
        _say(pipe, Kind.WRONG, b"its sequences nest too deep")
    except Exception as error:  # of whatever library: bytes from outside make any
        _say(pipe, Kind.WRONG, _told(error))
    else:
        _say(pipe, Kind.ANSWER, packed(meta, body))


def _told(error: Exception) -> bytes:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_LONGEST_TEXT].encode("utf-8", "replace")


def _say(pipe: BinaryIO, kind: Kind, body: bytes = b"") -> None:
    left = memoryview(message(kind, body))
    while left:
        left = left[pipe.write(left) :]


def _heard(asked: BinaryIO) -> bytes | None:
    """Take the parent's next message; None: it is gone."""
    head = asked.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    length = HEAD.unpack(head)[1]
    body = asked.read(length)
    return body if len(body) == length else None


if __name__ == "__main__":
    main()
