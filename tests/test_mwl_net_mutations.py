"""Recorded conversations with something wrong in them: thousands, and nothing is left of any.

MWL_MUTATIONS=100000 plays more of them than the usual ten thousand.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mwl.net.pdu import PduType
from tests.hostile import SHORT, Bridge, nothing_left
from tests.mutations import damaged
from tests.recorded import Sent, Stage, play, record, whole

MUTATIONS = int(os.environ.get("MWL_MUTATIONS", "10000"))
PLAYERS = 12  # at once: most of the time they wait for an answer that does not come
PARTS = 4  # of them all, each with its seeds, for as many processes as test
WAITS_S = 0.01
STAYS = 101  # one in so many says no more, and is ended by our time-outs


@pytest.fixture(scope="module")
def stage(sqlite_template: Path) -> Iterator[Stage]:
    # In memory where there is a place for it: what is asked is what is kept, not how durably.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    bridge = Bridge(sqlite_template, folder)
    server = bridge.serve(SHORT)
    try:
        yield Stage(bridge, server, record(server))
    finally:
        server.stop(0)
        bridge.close()
        shutil.rmtree(folder)


def test_sessions_as_they_were_recorded_end_with_a_release(stage: Stage) -> None:
    with nothing_left(stage.bridge, stage.server):
        for name, session in stage.sessions.items():
            last = play(stage.server, session, waits_s=WAITS_S)[-10:]
            assert last[0] == PduType.RELEASE_RP, name


@pytest.mark.parametrize("part", range(PARTS))
def test_no_mutation_hangs_or_leaves_anything_behind(stage: Stage, part: int) -> None:
    seeds = range(part, MUTATIONS, PARTS)

    def perform(seed: int) -> None:
        name, session = damaged(stage.sessions, seed)
        try:
            play(stage.server, session, waits_s=WAITS_S, stays=seed % STAYS == 0)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {name}: {error}") from error

    with nothing_left(stage.bridge, stage.server), ThreadPoolExecutor(PLAYERS) as players:
        for _ in players.map(perform, seeds):
            pass


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_session_that_hypothesis_makes_up_hangs(stage: Stage, data: st.DataObject) -> None:
    stream = whole(stage.sessions[data.draw(st.sampled_from(sorted(stage.sessions)))])
    start = data.draw(st.integers(0, len(stream)))
    end = data.draw(st.integers(start, min(len(stream), start + 40)))
    stream = stream[:start] + data.draw(st.binary(max_size=40)) + stream[end:]
    with nothing_left(stage.bridge, stage.server):
        play(stage.server, (Sent(0, stream),))
