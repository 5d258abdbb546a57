"""Write what is told of an HL7 message for a terminal."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hl7.explain import Explanation
    from hl7.explain.model import Field, Value

_PLACE, _NAME, _TEXT = 10, 30, 32  # columns wide
_USES = {"ignored": "ignored", "not tried": "not looked at", "at fault": "AT FAULT"}


def lines(told: "Explanation", number: int, count: int) -> Iterator[str]:
    """Write a message, its fields, what is missing, what would change, and the answer."""
    which = f"Message {number} of {count}: " if count > 1 else ""
    named = told.type or "a message without a type"
    yield f"{which}{named} {told.control_id} from {told.source or 'nobody named'}".rstrip()
    yield f"  profile   {told.profile} ({told.why_profile})"
    yield f"  read as   {told.encoding}{_listed(told.decoding, ': ')}"
    if told.action:
        yield f"  asks for  {told.action}"
    yield f"  answer    {told.ack_code}: {_became(told)}"
    for note in told.notes:
        yield f"  note      {note}"
    for segment in told.segments:
        yield ""
        yield f"{segment.place}  {segment.title}".rstrip()
        for field in segment.fields:
            yield from _field(field)
    yield from _section("What is wrong with it", _faults(told))
    yield from _section("What a person should see", (f"  {flag}" for flag in told.flags))
    yield from _section("What no field says", _unplaced(told))
    yield from _section("What a scanner wants and it does not say", _missing(told))
    yield from _section(
        "What the profile asks for and it does not say",
        (f"  {each.key:<38} {', '.join(each.places)}" for each in told.silent),
    )
    yield from _section("What would change", _rows(told))
    answer = [line for line in told.ack.split("\r") if line] or ["none: it asks for none"]
    answer = [line for line in told.ack.split("\r") if line] or ["none: it asks for none"]
    yield from _section("The answer", (f"  {line}" for line in answer))


def _became(told: "Explanation") -> str:
    if told.repeat_of is not None:
        return (
            f"accepted before as message {told.repeat_of}, so the same answer again and no "
            f"change; if it were new: {told.state}"
        )
    return told.state


def _listed(texts: Any, before: str) -> str:
    return before + ", ".join(texts) if texts else ""


def _section(title: str, found: Iterator[str]) -> Iterator[str]:
    told = list(found)
    if told:
        yield ""
        yield title
        yield from told


def _field(field: "Field") -> Iterator[str]:
    text = " ".join(field.text.split())
    shown = text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
    start = f"  {field.place:<{_PLACE}} {field.name[:_NAME]:<{_NAME}} {shown:<{_TEXT}}"
    blank = " " * len(start)
    told = [*(f"→ {value_text(each, field)}" for each in field.values)]
    if not told:
        told = [_USES.get(str(field.use)) or f"read for {', '.join(field.asked_for) or 'its use'}"]
    told += [f"! {note}" for note in field.notes]
    yield f"{start} {told[0]}".rstrip()
    yield from (f"{blank} {each}" for each in told[1:])


def value_text(value: "Value", field: "Field | None" = None) -> str:
    """Write a value: whose it is, the attribute, what it says, and by what."""
    is_whole = value.column.startswith(value.kind) or value.column[:1].isupper()
    name = value.column if is_whole else f"{value.kind} {value.column}"
    told = name.replace("_", " ") + (f" {value.tag}" if value.tag else "")
    told += " nothing" if value.value is None else f' "{value.value}"'
    if field is not None and value.place and value.place != field.place:
        told += f" from {value.place}"
    told += f" by {value.by}" if value.by else ""
    return told + (f" ({value.of})" if value.of else "")


def _faults(told: "Explanation") -> Iterator[str]:
    for fault in told.faults:
        yield f"  {fault.code}  {fault.where + ': ' if fault.where else ''}{fault.text}"


def _unplaced(told: "Explanation") -> Iterator[str]:
    for value in told.values:
        if not value.place and value.value is not None:
            yield f"  {value_text(value)}"


def _missing(told: "Explanation") -> Iterator[str]:
    for each in told.missing:
        whose = f" ({each.of})" if each.of else ""
        yield f"  {each.attribute + whose:<52} {each.then}"


def _rows(told: "Explanation") -> Iterator[str]:
    if told.rows is None:
        yield "  there is no database to compare with yet"
    elif not told.rows:
        yield "  nothing"
    for row in told.rows or ():
        yield from row_lines(row.kind, row.what, row.name, row.columns)


def row_lines(
    kind: str, what: str, name: str, columns: Iterable[tuple[str, Any, Any]]
) -> Iterator[str]:
    """Write a row that would differ."""
    if kind == "delivery":
        yield f"  {name} would be told"
        return
    yield f"  {kind} {name}: {what}"
    for column, before, after in columns:
        told = _shown(after) if what == "created" else f"{_shown(before)} → {_shown(after)}"
        yield f"      {column.replace('_', ' '):<24} {told}"


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)
