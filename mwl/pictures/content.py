"""What objects hold that are no images, in the child: a report's text, a document's bytes."""

from itertools import islice
from typing import Any, BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset

MOST_LINES = 2_000
MOST_DEPTH = 16
_LONGEST = 2_000  # characters of a value
_LONGEST_DOCUMENT = 64 * 1024 * 1024  # bytes

Line = tuple[int, str, str]  # depth, concept, value


def report(file: BinaryIO, _request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Read the content tree of an SR document (PS3.3 C.17.3) as indented lines."""
    found = dcmread(file, force=True, stop_before_pixels=True)
    if "ContentSequence" not in found and "ConceptNameCodeSequence" not in found:
        raise ValueError("it is no image, and has no text")
    lines: list[Line] = []
    _add(found, 0, lines)
    return {"lines": lines[:MOST_LINES], "is_cut": len(lines) > MOST_LINES}, b""


def document(file: BinaryIO, _request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Take out an encapsulated document, and tell its media type."""
    found = dcmread(file, force=True, stop_before_pixels=True)
    if "EncapsulatedDocument" not in found:
        raise ValueError("it holds no document")
    content = bytes(found.EncapsulatedDocument)
    length = int(found.get("EncapsulatedDocumentLength") or len(content))
    if len(content) > _LONGEST_DOCUMENT:
        raise ValueError("the document is too long")
    return {"type": str(found.get("MIMETypeOfEncapsulatedDocument", ""))[:64]}, content[:length]


def _add(item: Dataset, depth: int, lines: list[Line]) -> None:
    if len(lines) > MOST_LINES:
        return
    if depth > MOST_DEPTH:
        lines.append((depth, "", "… deeper ones are left out"))
        return
    lines.append((depth, _meaning(item.get("ConceptNameCodeSequence")), _value(item)[:_LONGEST]))
    for below in islice(item.get("ContentSequence") or [], MOST_LINES):
        _add(below, depth + 1, lines)


def _meaning(codes: Any) -> str:
    for code in islice(codes or [], 1):
        return str(code.get("CodeMeaning") or code.get("CodeValue") or "")[:_LONGEST]
    return ""


def _value(item: Dataset) -> str:
    kind = str(item.get("ValueType", ""))
    if kind == "CODE":
        return _meaning(item.get("ConceptCodeSequence"))
    if kind == "NUM":
        return _measured(item)
    if kind in {"IMAGE", "COMPOSITE", "WAVEFORM"}:
        named = [str(r.get("ReferencedSOPInstanceUID", "")) for r in _of(item)]
        return f"{kind.lower()} {', '.join(named)}"
    if kind in {"CONTAINER", ""}:
        return ""
    plain = {"TEXT": "TextValue", "PNAME": "PersonName", "UIDREF": "UID"}
    value = item.get(plain.get(kind, {"DATETIME": "DateTime"}.get(kind, kind.capitalize())))
    return kind.lower() if value is None else str(value)


def _of(item: Dataset) -> Any:
    return islice(item.get("ReferencedSOPSequence") or [], 8)


def _measured(item: Dataset) -> str:
    for measured in islice(item.get("MeasuredValueSequence") or [], 1):
        units = _meaning(measured.get("MeasurementUnitsCodeSequence"))
        return f"{measured.get('NumericValue', '')} {units}".strip()
    return ""
