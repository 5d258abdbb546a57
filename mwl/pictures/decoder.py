"""All frames of a compressed image as native pixels, for whoever can't take them compressed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mwl.pictures.pictures import Source, Unshowable
from mwl.pictures.pool import Lent, Pool
from mwl.pictures.process import Limits, Lost
from mwl.pictures.wire import Kind, unpacked

if TYPE_CHECKING:
    from mwl.objects import ObjectStore

_CHILDREN = 4  # one for each object under way; one of many frames keeps it while it is sent
_WAIT_S = 30.0
_MOST_BYTES = 0xFFFFFFFE  # PS3.5 7.1.1: of a value


@dataclass(frozen=True, slots=True)
class Native:
    """What the attributes that describe the native pixels say; colours come by pixel.

    No frames: it has no pixels.
    """

    frames: int
    frame_bytes: int
    bits_allocated: int
    samples_per_pixel: int
    photometric_interpretation: str

    @property
    def bytes(self) -> int:
        """How long the value is, without padding."""
        return self.frames * self.frame_bytes


class Decoder:
    """One process's children that decode. Threads may share it; none is started until asked."""

    def __init__(self, objects: "ObjectStore", limits: Limits | None = None, **child: Any) -> None:
        """Prepare to read from `objects`; the `limits` are those of a frame."""
        self._objects = objects
        self._pool = Pool(_CHILDREN, limits, **child)

    def close(self) -> None:
        """End the children that are idle."""
        self._pool.close()

    def decoded(self, source: Source) -> tuple[Native, Iterator[bytes]]:
        """Tell what the frames are, once the first is decoded, and give one after another.

        Raises Unshowable, Busy, and what the object store raises; of later frames the
        iterator does. It keeps a child busy until it is at its end or closed.
        """
        frames = self._frames(source)
        first = next(frames)
        assert isinstance(first, Native)
        return first, (each for each in frames if isinstance(each, bytes))

    def _frames(self, source: Source) -> Iterator[Native | bytes]:
        """Give what they are, then each frame."""
        try:
            with self._pool.lend(_WAIT_S) as child:
                native, frame = self._frame(child, source, 1)
                for number in range(2, native.frames + 1):
                    if number == 2:
                        yield native
                    yield frame
                    again, frame = self._frame(child, source, number)
                    if again != native:
                        raise Unshowable(f"frame {number} is unlike the first")
            # The last one needs no child any more.
            if native.frames < 2:
                yield native
            yield frame
        except (Lost, ValueError, KeyError, TypeError) as error:
            raise Unshowable(str(error)) from None

    def _frame(self, child: Lent, source: Source, number: int) -> tuple[Native, bytes]:
        def read(start: int, length: int) -> bytes:
            return b"".join(self._objects.read(source.key, start, length))

        wanted = {
            "task": "native",
            "key": source.digest,
            "bytes": source.size,
            "frame": number,
        }
        kind, payload = child.ask(json.dumps(wanted).encode(), read)
        if kind is not Kind.ANSWER:
            raise Unshowable(payload.decode("utf-8", "replace") or "it can't be read")
        told, frame = unpacked(payload)
        native = Native(frame_bytes=len(frame), **told)
        if native.bytes > _MOST_BYTES:
            raise Unshowable(f"its pixels are {native.bytes} bytes when decoded")
        return native, frame
