"""Sends a feed's messages, each until it is answered, whatever is killed meanwhile."""

import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import islice

from hl7 import mllp
from tests.soak.feed import Feed, Sent

_PAUSE_S = 0.05
_PATIENCE_S = 60.0  # for an answer: longer than the server insists
_END = b"\x1c\r"


class Sender:
    """One connection, and a thread; what it was answered, by MSH-10."""

    def __init__(self, feed: Feed, port: int, count: int) -> None:
        self.feed, self._port, self._count = feed, port, count
        self.answers: dict[str, bytes] = {}
        self.tries: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.is_done = False
        self.lost = 0  # tries that no answer came to
        self._sock: socket.socket | None = None
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        return self._thread.is_alive()

    @property
    def answered(self) -> int:
        return len(self.answers)

    def give_up(self) -> None:
        self._given_up.set()

    def _run(self) -> None:
        for sent in islice(iter(self.feed), self._count):
            answer = self._insist(sent)
            if answer is None:
                return
            self._note(sent, answer)
        self._hang_up()
        self.is_done = True

    def _note(self, sent: Sent, answer: bytes) -> None:
        said = answer.split(b"\rMSA|")[1].split(b"\r")[0].split(b"|")
        if said[:2] != [sent.code.encode(), sent.control_id.encode()]:
            self.wrong.append(f"{sent.control_id}: {answer!r}, not {sent.code}: {sent.raw!r}")
        first = self.answers.setdefault(sent.control_id, answer)
        if sent.code == "AA" and first != answer:
            self.wrong.append(f"{sent.control_id}: {answer!r}, not {first!r} again")

    def _insist(self, sent: Sent) -> bytes | None:
        while not self._given_up.is_set():
            self.tries[sent.control_id] += 1
            with suppress(OSError):
                return self._ask(sent.raw)
            self.lost += 1
            self._hang_up()
            time.sleep(_PAUSE_S)
        return None

    def _ask(self, raw: bytes) -> bytes:
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._port), _PATIENCE_S)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.sendall(mllp.frame(raw))
        answer = b""
        while not answer.endswith(_END):
            data = self._sock.recv(65_536)
            if not data:
                raise ConnectionResetError
            answer += data
        return answer[1 : -len(_END)]

    def _hang_up(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
