"""simple-hl7 and node-hl7 as RISes, in a process of their own: tests/mllpjs/ris.js.

answers = sent("simple-hl7", port, [orm()])        # texts, in order
with hearing("node-hl7", port, 2) as heard:        # listens; answers AA
    heard()                                        # the messages, once they have come
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.peers import missing, require
from tests.serving import PATIENCE_S

IMPLEMENTATIONS = ("simple-hl7", "node-hl7")

_FOLDER = Path(__file__).with_name("mllpjs")


def sent(by: str, port: int, messages: Sequence[str], *, batch: bool = False) -> list[str]:
    """Send messages to our HL7 port; give what was answered, as that implementation reads it."""
    plan = {"by": by, "host": "127.0.0.1", "port": port, "messages": messages, "batch": batch}
    done = subprocess.run(
        _command(plan), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line)["answer"] for line in done.stdout.splitlines()]


@contextmanager
def hearing(by: str, port: int, count: int) -> Iterator[Callable[[], list[str]]]:
    """Listen within the block; call what it gives for the messages, once so many have come."""
    plan = {"by": by, "listen": port, "ends": count}
    process = subprocess.Popen(_command(plan), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline()) == {"listening": port}

        def heard() -> list[str]:
            text, _ = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, text
            return [json.loads(line)["message"] for line in text.splitlines()]

        yield heard
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _command(plan: dict[str, Any]) -> list[str]:
    node = require("node")
    if not (_FOLDER / "node_modules").is_dir():
        missing("simple-hl7 and node-hl7 are not installed: npm ci --prefix tests/mllpjs")
    return [node, str(_FOLDER / "ris.js"), json.dumps(plan)]
