import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7.mllp import FrameError, Framer, Unended, frame, join

A = b"MSH|^~\\&|A\rPID|||1\r"
B = b"MSH|^~\\&|B\rPID|||2\r"
BATCH = b"BHS|^~\\&|A\r" + B + b"BTS|1\r"
FILE = b"FHS|^~\\&|A\r" + BATCH + b"FTS|1\r"
LIMIT = 1000


def fed(stream: bytes, size: int = 10_000, limit: int = LIMIT) -> tuple[list[bytes], list[bytes]]:
    """Feed a stream in chunks; give the messages it completed, and those its end completed."""
    framer = Framer(limit)
    messages = []
    for start in range(0, len(stream), size):
        messages += framer.feed(stream[start : start + size])
    return messages, framer.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    ("stream", "messages"),
    [
        (b"\x0b" + A + b"\x1c\r", [A]),
        (b"\x0b" + A + b"\x1c\r\x0b" + B + b"\x1c\r", [A, B]),
        (b"\x0b" + A + b"\x1c\x0b" + B + b"\x1c", [A, B]),
        (b"\x0b\x0b" + A + b"\x1c\x1c\r\r\n\x0b" + B + b"\x1c\r", [A, B]),
        (A + b"\x1c\r" + B + b"\x1c\r", [A, B]),
        (b"\x0b" + A + b"\x0b" + B + b"\x1c\r", [A, B]),
        (b"\r\n" + A + b"\x0b" + B + b"\x1c\r", [A, B]),
        (b"garbage M MS \x0b" + A + b"\x1c\rmore MMSH|^~\\&|B\x1c\r", [A, b"MSH|^~\\&|B"]),
        (b"\x0b\x1c\r\x0b\r\x1c\r\x0b" + A + b"\x1c\r", [A]),
        (b"\x0bMSH|half a mess\x0b" + A + b"\x1c\r", [A]),
        (b"\x0bno header\x1c\r", [b"no header"]),
        (b"F FH B" + FILE + b"\x1c\r" + BATCH + b"\x1c\r", [FILE, BATCH]),
    ],
    ids=[
        "one",
        "two in one segment",
        "no CR behind FS",
        "VT and FS doubled",
        "no VT",
        "no FS: the next VT ends it",
        "neither",
        "garbage between frames",
        "empty frames",
        "half a message, begun again",
        "framed, but no HL7",
        "batches without VT",
    ],
)
def test_frames_are_found_however_the_stream_is_cut(
    stream: bytes, messages: list[bytes], size: int
) -> None:
    assert fed(stream, size) == (messages, [])


def test_the_end_of_the_stream_completes_a_message_that_ends_with_a_segment() -> None:
    assert fed(b"\x0b" + A) == ([], [A])
    assert fed(A.replace(b"\r", b"\n")) == ([], [A.replace(b"\r", b"\n")])


def test_a_message_whose_fs_did_not_come_is_told_from_others() -> None:
    begun, ended = fed(b"\x0b" + A + b"\x0b" + B + b"\x1c\r\x0b" + A)
    assert [type(each) for each in (*begun, *ended)] == [Unended, bytes, Unended]


def test_the_end_of_the_stream_drops_half_a_message() -> None:
    framer = Framer(LIMIT)
    assert framer.feed(b"\x0b" + A + b"OBR|||F") == []
    assert framer.pending
    assert framer.close() == []
    assert framer.skipped == len(A + b"OBR|||F")


def test_a_message_is_given_at_fs_without_waiting_for_cr() -> None:
    framer = Framer(LIMIT)
    assert framer.feed(b"\x0b" + A + b"\x1c") == [A]
    assert not framer.pending
    assert framer.feed(b"\r") == []
    assert not framer.pending
    assert framer.skipped == 0


def test_messages_that_were_joined_are_framed_each() -> None:
    assert fed(frame(join([A, B, A]))) == ([A, B, A], [])
    assert join([A]) == A
    assert join([]) == b""


def test_line_ends_and_marks_inside_a_frame_are_the_messages_own() -> None:
    for odd in (A.replace(b"\r", b"\n"), A.replace(b"\r", b"\r\n"), b"\xef\xbb\xbf" + A, b"\n" + A):
        assert fed(frame(odd), 1) == ([odd], [])
        assert fed(frame(odd) + frame(B)) == ([odd, B], [])


@pytest.mark.parametrize("begun", [b"\x0b", b"M", b"MS", b"MSH", b"x", b"\x0bM"])
def test_what_has_begun_is_pending(begun: bytes) -> None:
    framer = Framer(LIMIT)
    assert not framer.pending
    framer.feed(begun)
    assert framer.pending


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_message_as_long_as_the_limit_passes_and_one_byte_more_breaks(size: int) -> None:
    longest = b"MSH" + b"x" * (LIMIT - 3)
    assert fed(frame(longest), size) == ([longest], [])
    with pytest.raises(FrameError, match="more than 1000 bytes"):
        fed(frame(longest + b"x"), size)
    with pytest.raises(FrameError, match="more than 1000 bytes"):
        fed(longest + b"x", size)


def test_messages_before_the_fault_are_not_lost_with_it() -> None:
    with pytest.raises(FrameError) as caught:
        Framer(LIMIT).feed(frame(A) + frame(B) + b"\x0b" + b"x" * 2000)
    assert caught.value.complete == [A, B]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_endless_garbage_breaks(size: int) -> None:
    with pytest.raises(FrameError, match="no message within 1000 bytes"):
        fed(b"y" * (LIMIT + 1) + frame(A), size)


def test_garbage_is_counted_from_the_last_message() -> None:
    noise = b"y" * 600
    framer = Framer(LIMIT)
    assert framer.feed(noise + frame(A) + noise + frame(B)) == [A, B]
    assert framer.skipped == 1200


PIECES = st.lists(
    st.sampled_from(
        [b"\x0b", b"\x1c", b"\r", b"\n", b"M", b"S", b"H", b"MSH|", b"x", A, frame(A), b"x" * 20]
    ),
    max_size=30,
)


@settings(deadline=None)
@given(PIECES, st.lists(st.integers(min_value=1, max_value=40), min_size=1))
def test_framing_does_not_depend_on_chunking(pieces: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(pieces)

    def run(cuts: list[int]) -> tuple[list[bytes], str, int, bool]:
        framer, messages, position = Framer(60), [], 0
        try:
            for index in range(len(stream)):
                size = cuts[index % len(cuts)]
                messages += framer.feed(stream[position : position + size])
                position += size
            pending = framer.pending
            messages += framer.close()
        except FrameError as error:
            return messages + error.complete, str(error), 0, False
        return messages, "", framer.skipped, pending

    assert run(sizes) == run([len(stream) or 1])


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50).filter(lambda b: b.strip()), max_size=5))
def test_what_is_framed_comes_out_again(bodies: list[bytes]) -> None:
    bodies = [b"MSH" + body.replace(b"\x0b", b"").replace(b"\x1c", b"") for body in bodies]
    assert fed(b"".join(map(frame, bodies))) == (bodies, [])


@pytest.mark.parametrize(
    "stream",
    [
        b"\x0b" + b"x" * 400_000 + b"\x1c\r",
        frame(A) * 20_000,
        (b"\x0b" + A) * 20_000,
        (A + b"\x1c") * 20_000,
        b"\x0b" * 400_000,
        b"MS" * 200_000,
    ],
    ids=["one message", "frames", "no FS", "no VT", "VT only", "almost MSH"],
)
def test_time_is_linear_in_the_bytes(stream: bytes) -> None:
    """A stream eight times as long may take eight times as long; quadratic would be 64."""

    def seconds(data: bytes) -> float:
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            Framer(1_000_000).feed(data)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(stream) < 30 * seconds(stream[: len(stream) // 8]) + 0.005
