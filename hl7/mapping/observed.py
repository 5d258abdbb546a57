"""Read OBX segments as the parts of a report: texts, documents, and where they are.

OBX-2 says what OBX-5 is (table 0125): TX, FT and ST are texts, of which lines may come as
repetitions or as segments of their own; CE and CWE are said by their text; ED is a document
(source ^ type ^ subtype ^ encoding ^ data), RP names one that is elsewhere. What a sender
calls its document counts less than how it begins: a PDF is one, whatever its type.
"""

import re
from collections.abc import Iterable

from hl7 import embedded
from hl7.embedded import Embedded, NotDecodableError
from hl7.er7 import DELETE, Segment, unescape
from hl7.mapping.report import Report
from mwl.errors import Reason
from mwl.reports import Kind, Part

MOST_PARTS = 200
_MOST_LINES = 10_000  # repetitions of OBX-5
_LONGEST_LABEL = 199
_LONGEST_TYPE = 80
_TEXTS = frozenset({"TX", "FT", "ST", ""})
_CODES = frozenset({"CE", "CWE", "CNE", "CF"})
_GONE = frozenset({"D", "W"})  # OBX-11, table 0085: deleted; posted as wrong
_ENCODED = frozenset({"BASE64", "HEX"})
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WITHIN = 1024  # bytes in which %PDF- stands, by what viewers allow

# Table 0291, and what senders write there: how it is shown.
_MEDIA_TYPES = {
    "pdf": "application/pdf",
    "html": "text/html",
    "xml": "text/xml",
    "sgml": "text/sgml",
    "rtf": "application/rtf",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "tiff": "image/tiff",
    "tif": "image/tiff",
    "gif": "image/gif",
    "dicom": "application/dicom",
    "plain": "text/plain",
    "text": "text/plain",
    "txt": "text/plain",
    "": "text/plain",  # of a text
}
_UNKNOWN = "application/octet-stream"
_PLAIN = frozenset({"text", "tx", "ft", ""})  # table 0191
_MAIN_TYPES = frozenset({"application", "audio", "image", "text", "video"})
_FIRST_BYTES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n", "image/png"),
    (b"{\\rtf", "application/rtf"),
    (b"<?xml", "text/xml"),
)


def parts(segments: Iterable[Segment], documents: Embedded, report: Report) -> list[Part]:
    """Read the parts of a report, in their order; faults are in `report`."""
    gathered: list[tuple[Part, list[bytes]]] = []
    for segment in segments:
        if _code(segment, 11) in _GONE:
            report.flag("OBX-11: a part that is deleted or wrong: left out")
        elif (part := _part(segment, documents, report)) is not None:
            _gather(gathered, part)
    if len(gathered) > MOST_PARTS:
        report.fault(Reason.SEQUENCE, "OBX", f"more than {MOST_PARTS} parts of a report")
    return [
        first if len(lines) == 1 else first._replace(content=b"\n".join(lines))
        for first, lines in gathered
    ]


def comment(segments: Iterable[Segment]) -> Part | None:
    """Read NTE-3 of the segments as one part."""
    lines = [_lines(segment, 3) for segment in segments]
    text = "\n".join(line for line in lines if line)
    return Part(Kind.TEXT, text.encode(), "Comment") if text else None


def line(text: str, longest: int) -> str:
    """Make a text one line of bounded length."""
    text = " ".join(_CONTROLS.sub(" ", text).split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _gather(gathered: list[tuple[Part, list[bytes]]], part: Part) -> None:
    """Add a part; a text that goes on, line by line, belongs to the part before it."""
    last, lines = gathered[-1] if gathered else (None, [])
    if last is not None and last.kind is part.kind is Kind.TEXT:
        if (last.label, last.abnormal) == (part.label, part.abnormal):
            lines.append(part.content)
            return
        if len(gathered) >= MOST_PARTS:
            # Rather one part that is long than a report that is refused.
            lines.append(f"{part.label}: ".encode() + part.content)
            return
    gathered.append((part, [part.content]))


def _part(segment: Segment, documents: Embedded, report: Report) -> Part | None:
    value_type = _code(segment, 2)
    raw = segment.fields[5] if len(segment.fields) > 5 else ""
    if not raw or segment.get(5) is DELETE:
        return None
    label = _label(segment)
    if value_type == "ED":
        return _document(segment, raw, label, documents, report)
    if value_type == "RP":
        return Part(Kind.LINK, _lines(segment, 5).encode(), label, _type_of(segment, 3, 4))
    if raw.startswith(embedded.PDF_BASE64) or raw in documents:
        data: str | memoryview = documents.get(raw, raw)
        return _decoded(segment, data, "Base64", label, "application/pdf", report)
    text = _coded(segment) if value_type in _CODES else _lines(segment, 5)
    if value_type not in _TEXTS | _CODES:
        text = text.replace(segment.delimiters.component, " ").strip()
    return Part(Kind.TEXT, _with_unit(segment, text).encode(), label, abnormal=_abnormal(segment))


def _document(
    segment: Segment, raw: str, label: str, documents: Embedded, report: Report
) -> Part | None:
    """Read ED. What is not encoded is all that follows, whatever delimiters are in it."""
    separator = segment.delimiters.component
    *_, encoding, data = ["", "", "", "", *raw.split(separator, 4)][-5:]
    if raw.count(separator) < 4:
        encoding, data = "", raw.rsplit(separator, 1)[-1]
    media_type = _type_of(segment, 2, 3)
    if encoding.strip().upper() in _ENCODED or data in documents:
        given = documents.get(data, data)
        return _decoded(segment, given, encoding.strip() or "Base64", label, media_type, report)
    text = unescape(data, segment.delimiters, segment.encoding)
    if not text.strip():
        report.flag("OBX-5.5: a document without data")
        return None
    return shown(text.encode(), label, media_type, report)


def _decoded(  # noqa: PLR0913 - data, how they are written, and what they are
    segment: Segment,
    data: str | memoryview,
    encoding: str,
    label: str,
    media_type: str,
    report: Report,
) -> Part | None:
    try:
        content = embedded.decode(data, encoding)
    except NotDecodableError as error:
        report.fault(Reason.MALFORMED, "OBX-5.5", str(error), segment.occurrence)
        return None
    return shown(content, label, media_type, report)


def shown(content: bytes, label: str, media_type: str, report: Report) -> Part:
    """Decide how a document is shown: by how it begins, else by what it is said to be."""
    if b"%PDF-" in content[:_WITHIN]:
        return Part(Kind.PDF, content, label, "application/pdf")
    beginning = content[:_WITHIN].removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, known in _FIRST_BYTES:
        if beginning.startswith(magic):
            media_type = known
            break
    if media_type == "application/pdf":
        report.flag("OBX-5: said to be a PDF, and is none")
        return Part(Kind.FILE, content, label, _UNKNOWN)
    if media_type == "text/plain":
        return Part(Kind.TEXT, _utf_8(content), label)
    if media_type.startswith("text/") or media_type.endswith("xml"):
        return Part(Kind.MARKUP, _utf_8(content), label, media_type)
    return Part(Kind.FILE, content, label, media_type)


def _utf_8(content: bytes) -> bytes:
    """Give a text in UTF-8, whatever of the usual encodings it is in."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace").encode()
    return content


def _type_of(segment: Segment, kind: int, subtype: int) -> str:
    """Read a media type of its two components: `Application^PDF`, `Text^text/xml`."""
    main, sub = (_text(segment, 5, number).strip().lower() for number in (kind, subtype))
    if sub in _MEDIA_TYPES:
        return _MEDIA_TYPES[sub] if sub or main in _PLAIN else _UNKNOWN
    named = sub if "/" in sub else f"{main}/{sub}"
    if named.partition("/")[0] in _MAIN_TYPES and _MEDIA_TYPE.fullmatch(named):
        return named[:_LONGEST_TYPE]
    return "text/xml" if "cda" in sub else _UNKNOWN


def _label(segment: Segment) -> str:
    for component in (2, 5, 1):
        if text := line(_text(segment, 3, component), _LONGEST_LABEL):
            return text
    return ""


def _abnormal(segment: Segment) -> str:
    text = _text(segment, 8, 2) or _text(segment, 8, 1)
    return "" if _code(segment, 8) in ("", "N") else line(text, 64)


def _coded(segment: Segment) -> str:
    """Write CE or CWE: its text, and the code behind it."""
    code, text, scheme = (_text(segment, 5, component) for component in (1, 2, 3))
    text = text or _text(segment, 5, 9)
    if not text:
        return code
    named = ", ".join(filter(None, (code, scheme)))
    return f"{text} ({named})" if named else text


def _with_unit(segment: Segment, text: str) -> str:
    unit = _text(segment, 6, 1)
    return text if not unit or text.endswith(unit) else f"{text} {unit}"


def _lines(segment: Segment, field: int) -> str:
    """Read a free text with all its repetitions, each a line, and delimiters nobody escaped."""
    raw = segment.fields[field] if field < len(segment.fields) else ""
    again, below = segment.delimiters.repetition, segment.delimiters.component
    texts = raw.split(again) if raw.count(again) < _MOST_LINES else [raw]
    lines = [unescape(each, segment.delimiters, segment.encoding).rstrip(below) for each in texts]
    text = "\n".join(lines).replace("\r\n", "\n").replace("\r", "\n")
    return "" if text == '""' else _CONTROLS.sub(" ", text).strip("\n")


def _text(segment: Segment, field: int, component: int) -> str:
    value = segment.get(field, 1, component)
    return value if isinstance(value, str) else ""


def _code(segment: Segment, field: int) -> str:
    return _text(segment, field, 1).strip().upper()
