"""Log lines: one event a line on standard error, without patient data.

Our own events are short words with keys. Two things that other people's code does would
put patient data into a log: quote values in the text of an exception, and warn about them.
So an unexpected exception is logged as its type and where it was raised; only errors of our
own tree, whose texts are free of it by contract, are quoted. pydicom's and pynetdicom's
warnings are dropped.
"""

import logging
import sys
import traceback
import warnings
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from mwl.errors import MwlError

_MOST_FRAMES = 8
_TELLTALES = ("pydicom", "pynetdicom", "hl7apy")


class Forgiving:
    """A stream that drops what can't be written: the disk is full, or nobody reads any more.

    Whoever logs goes on; orders and scanners matter more than what is told about them.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Wrap a standard stream; it is None where the program was started without."""
        self._stream = stream

    def write(self, text: str) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.flush()


def configure(level: str, *, as_json: bool = False) -> None:
    """Set up structlog and the standard library's logging for this process."""
    number = getattr(logging, level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        describe_exception,
        structlog.processors.JSONRenderer() if as_json else _text,
    ]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # One write a line: several processes share the stream.
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, Forgiving(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    _adopt_standard_library(number)


def describe_exception(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    """Replace `exc_info` by the exception's type, its place, and its text if it is ours."""
    info = event.pop("exc_info", None)
    error = info if isinstance(info, BaseException) else sys.exc_info()[1] if info else None
    if error is not None:
        event["error"] = type(error).__name__
        if isinstance(error, MwlError):
            event["text"] = str(error)
        frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
        event["at"] = " < ".join(
            f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}"
            for frame in reversed(frames)
        )
    return event


def _text(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    at, level, name = event.pop("timestamp"), event.pop("level"), event.pop("event")
    pairs = (f"{key}={_value(value)}" for key, value in event.items())
    return " ".join([at, f"{level:<7}", str(name), *pairs])


def _value(value: Any) -> str:
    text = str(value)
    # A peer may choose the text: it must not forge a second line.
    plain = text.isprintable() and not set(text) & set(" \"='")
    return text if text and plain else repr(text)


class _Forward(logging.Handler):
    """Give what libraries log to structlog, as its text and the logger's name."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        info = record.exc_info[1] if record.exc_info else None
        name = record.name.lstrip("_")
        log.log(record.levelno, "library", library=name, text=record.getMessage(), exc_info=info)


def _adopt_standard_library(level: int) -> None:
    logging.basicConfig(handlers=[_Forward()], level=max(level, logging.WARNING), force=True)
    for name in _TELLTALES:
        logging.getLogger(name).disabled = True
        warnings.filterwarnings("ignore", module=rf"{name}(\..*)?")
