"""Ask what a stored object shows; two children answer, and what was answered is kept a while."""

import json
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mwl.errors import MwlError
from mwl.pictures.pool import Busy, Pool
from mwl.pictures.process import Limits, Lost
from mwl.pictures.window import Window
from mwl.pictures.wire import Kind, unpacked

if TYPE_CHECKING:
    from mwl.objects import ObjectStore

_CHILDREN = 2
_MOST_ASKING = 6  # threads, those that wait included; pages need some too
_PATIENCE_S = 2.0  # of others: a picture takes some 20 ms, unless all are held up
_WAIT_S = 10.0
_KEPT_BYTES = 32 * 1024 * 1024
_LARGEST_KEPT = _KEPT_BYTES // 8
_REFUSED_S = 60.0  # what can't be shown is not tried again for so long
_OVERHEAD = 500  # bytes of whatever is kept, roughly

Answer = tuple[dict[str, Any], bytes]
Line = tuple[Any, ...]


class Unshowable(MwlError):
    """It can't be shown; the text says why, to a person, without their data."""


@dataclass(frozen=True, slots=True)
class Source:
    """A stored object: its key, its size in bytes, and the digest that names its bytes."""

    key: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture; `window` of a grey one."""

    png: bytes
    window: Window | None


class Pictures:
    """One process's children. Threads may share it; nothing is started until it is asked."""

    def __init__(self, objects: "ObjectStore", limits: Limits | None = None, **child: Any) -> None:
        """Prepare to read from `objects`."""
        self._objects = objects
        self._pool = Pool(_CHILDREN, limits, **child)
        self._asking = threading.BoundedSemaphore(_MOST_ASKING)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._kept_bytes = 0

    def frame(
        self, source: Source, frame: int = 1, *, window: Window | None = None, size: str = ""
    ) -> Frame:
        """Show a frame, counted from 1; `size`: "" for a screen, "thumb", or "full".

        Raises Unshowable, Busy, and what the object store raises.
        """
        wanted: dict[str, Any] = {"frame": frame, "size": size}
        if window is not None:
            wanted |= {"center": window.center, "width": window.width}
        told, png = self._ask(source, "frame", wanted)
        shown = Window(told["center"], told["width"]) if "center" in told else None
        return Frame(png, shown)

    def header(self, source: Source) -> tuple[list[Line], bool]:
        """List the header's elements (depth, tag, name, VR, value), and tell if there are more."""
        told, _ = self._ask(source, "header", {})
        return told["lines"], told["is_cut"]

    def report(self, source: Source) -> tuple[list[Line], bool]:
        """List a report's lines (depth, concept, value), and tell if there are more."""
        told, _ = self._ask(source, "report", {})
        return told["lines"], told["is_cut"]

    def document(self, source: Source) -> tuple[bytes, str]:
        """Give an encapsulated document, and the media type that it claims."""
        told, content = self._ask(source, "document", {})
        return content, told["type"]

    def close(self) -> None:
        """End the children that are idle."""
        self._pool.close()

    def _ask(self, source: Source, task: str, wanted: dict[str, Any]) -> Answer:
        request = json.dumps(
            {"task": task, "key": source.digest, "bytes": source.size, **wanted}, sort_keys=True
        )
        key = source.digest, request
        kept = self._find(key)
        if kept is None:
            kept = self._answer(source, request.encode())
            self._keep(key, kept)
        if kept.refused:
            raise Unshowable(kept.refused)
        return kept.meta, kept.body

    def _answer(self, source: Source, request: bytes) -> "_Kept":
        def read(start: int, length: int) -> bytes:
            return b"".join(self._objects.read(source.key, start, length))

        if not self._asking.acquire(timeout=_PATIENCE_S):
            raise Busy("too many pictures are asked for at once")
        try:
            with self._pool.lend(_WAIT_S) as child:
                kind, payload = child.ask(request, read)
                if kind is Kind.ANSWER:
                    return _Kept(*unpacked(payload))
                return _Kept.refusing(payload.decode("utf-8", "replace"))
        except (Lost, ValueError) as error:
            return _Kept.refusing(str(error))
        finally:
            self._asking.release()

    def _find(self, key: tuple[str, str]) -> "_Kept | None":
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found.until < time.monotonic():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return found

    def _keep(self, key: tuple[str, str], new: "_Kept") -> None:
        if new.size > _LARGEST_KEPT:
            return
        with self._lock:
            self._drop(key)
            self._kept[key] = new
            self._kept_bytes += new.size
            while self._kept_bytes > _KEPT_BYTES:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, str]) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._kept_bytes -= old.size


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, or why there is none, and until when that holds."""

    meta: dict[str, Any]
    body: bytes
    refused: str = ""
    until: float = float("inf")

    @classmethod
    def refusing(cls, text: str) -> "_Kept":
        return cls({}, b"", text or "it can't be read", time.monotonic() + _REFUSED_S)

    @property
    def size(self) -> int:
        return len(self.body) + _OVERHEAD + 100 * len(self.meta.get("lines", ()))
