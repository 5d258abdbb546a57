"""Explain one message: field by field, value by value, against the database if there is one."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from hl7 import ack, er7
from hl7.explain import model
from hl7.explain.asked import Asked, asked, constants
from hl7.explain.attributes import COLUMNS
from hl7.explain.missing import missing
from hl7.explain.model import Explanation, Use, Value
from hl7.explain.ruling import ruled
from hl7.explain.targets import Target
from hl7.explain.tracing import Traced, name_of, trace
from hl7.explain.trying import Trial
from hl7.intake import Incoming, Intake
from hl7.mapping import Change
from hl7.outline import Outline, outline
from hl7.profiles import Profiles, Reader
from hl7.rehearsal import Rehearsed
from mwl.errors import Fault, Rejected
from mwl.journal import Settled, State

LONGEST: Final = 512  # characters of a field that are told
_MOST_MENDED: Final = 20
_TABLES: Final = {
    (kind, each.name): f"[values.{each.table}]"
    for kind, table in COLUMNS.items()
    for each in table.values()
    if each.table
}

# Keys that are told under another name, or are none of an attribute.
_OTHER: Final = frozenset({"order.filler", "order.placer", "procedure.code"})

Rehearse = Callable[[Incoming], Rehearsed]


class Explainer:
    """Explains messages by the profiles of one site. Threads share it.

    `rehearse` tells what a message would do to the database; None: there is none.
    """

    def __init__(
        self, profiles: Profiles, intake: Intake, rehearse: Rehearse | None, why: str = ""
    ) -> None:
        """Explain by `profiles`; `why` says why these, if they were not chosen by the sender."""
        self._profiles = profiles
        self._intake = intake
        self._rehearse = rehearse
        self._why = why

    def __call__(self, raw: bytes, at: datetime, listener: str = "") -> Explanation:
        """Explain a message that comes at `at` on `listener`. Raises Outage."""
        incoming = self._intake.open(raw, "explain", at, listener)
        shown = outline(raw, self._profiles.charset_of(raw, listener))
        read = _Read(self._intake, incoming)
        told = self._rehearse(incoming) if self._rehearse else _unrehearsed(self._intake, read)
        why = self._why or self._profiles.why(listener, incoming.received.source)
        return _explanation(read, shown, told, why, is_compared=self._rehearse is not None)


class _Read:
    """A message and what it says, as far as that can be read."""

    def __init__(self, intake: Intake, incoming: Incoming) -> None:
        self.incoming = incoming
        self.reader: Reader = incoming.reader
        self.changes: Sequence[Change] = []
        self.faults: Sequence[Fault] = incoming.faults
        self.mended: Sequence[str] = []
        self.trial: Trial | None = None
        self.message = incoming.message if not incoming.faults else None
        try:
            self.changes = intake.read(incoming)
        except Rejected as error:
            self.faults = error.faults
        if self.message is None:
            return
        self.message, self.mended = _mended(self.message, self.read)
        self.trial = Trial(self.message, self.read)
        if self.mended:
            self.changes = self.read(self.message)

    def read(self, message: er7.Message) -> Sequence[Change]:
        given = self.incoming
        return self.reader.mapper.read(message, given.sent, given.received.received_at)


def _mended(
    message: er7.Message, read: Callable[[er7.Message], Sequence[Change]]
) -> tuple[er7.Message, Sequence[str]]:
    """Leave out the fields at fault, so that the rest can be told; say which."""
    left_out: dict[str, None] = {}
    mended = message
    for _ in range(_MOST_MENDED):
        try:
            read(mended)
        except Rejected as error:
            places = [each for each in map(_place, error.faults) if each not in left_out]
            places = [each for each in places if each and _says(mended, each)]
            if not places:
                return message, []
            left_out.update(dict.fromkeys(places))
            mended = _without(mended, places)
        except er7.ParseError:
            return message, []
        else:
            return mended, list(left_out)
    return message, []


def _place(fault: Fault) -> str:
    """Give the field that a fault names, with the occurrence of its segment; or ""."""
    try:
        where = er7.path(fault.where)
    except ValueError:
        return ""
    nth = max(fault.occurrence, where.occurrence)
    return f"{where.segment}{f'({nth})' if nth > 1 else ''}-{where.field}"


def _says(message: er7.Message, place: str) -> bool:
    return message.whole(place) is not None


def _without(message: er7.Message, places: Sequence[str]) -> er7.Message:
    named: dict[str, list[er7.Segment]] = {}
    segments = []
    for segment in message.segments:
        fields = [
            "" if n and f"{name_of(segment)}-{n}" in places else text
            for n, text in enumerate(segment.fields)
        ]
        each = er7.Segment(fields, segment.delimiters, segment.encoding, segment.occurrence)
        segments.append(each)
        named.setdefault(each.name, []).append(each)
    return er7.Message(segments, named)


def _unrehearsed(intake: Intake, read: _Read) -> Rehearsed:
    """Tell the answer as far as the message alone decides it."""
    if read.faults:
        return Rehearsed(intake.reject(read.incoming, read.faults), read.faults, [])
    flags = [*read.incoming.flags]
    for change in read.changes:
        flags += change.flags
    answer = intake.acknowledge(read.incoming, ack.Code.AA)
    settled = Settled(State.APPLIED, ack.Code.AA, answer, flags=list(dict.fromkeys(flags)))
    return Rehearsed(settled, [], [])


def _explanation(
    read: _Read, shown: Outline, told: Rehearsed, why: str, *, is_compared: bool
) -> Explanation:
    incoming, settled = read.incoming, told.settled
    wanted = asked(read.reader.profile)
    traced: Sequence[Traced] = []
    values: Mapping[str, Value] = {}
    if read.trial is not None and read.message is not None:
        traced = trace(read.message, read.trial, wanted)
        values = _values(read, traced)
    faults = told.faults or read.faults
    return Explanation(
        type=incoming.sent.type,
        control_id=incoming.sent.control_id,
        source=incoming.sent.source,
        profile=read.reader.name,
        why_profile=why,
        encoding=shown.encoding,
        decoding=[*incoming.flags],
        action=", ".join(dict.fromkeys(map(_action, read.changes))),
        segments=list(_segments(shown, traced, values, faults)),
        values=list(values.values()),
        silent=_silent(wanted, read.message, list(values.values())) if read.message else [],
        missing=missing(read.changes),
        flags=list(settled.flags),
        faults=[model.Fault(_where(each), each.text, ack.code_for([each])) for each in faults],
        ack_code=settled.ack_code,
        ack=settled.ack.decode("utf-8", "replace"),
        state=str(settled.state),
        rows=_rows(told) if is_compared else None,
        repeat_of=told.repeat_of,
        notes=list(_notes(read, shown)),
    )


def _action(change: Change) -> str:
    action = getattr(change, "action", None)
    return str(action) if action else _words(type(change).__name__)


def _words(name: str) -> str:
    """Write PatientUpdate as "patient update"."""
    return "".join(f" {each.lower()}" if each.isupper() else each for each in name).strip()


def _values(read: _Read, traced: Sequence[Traced]) -> dict[str, Value]:
    """Tell every value with the place that it came from."""
    assert read.trial is not None
    assert read.message is not None
    places: dict[str, list[str]] = {}
    said: dict[str, set[str]] = {}
    for each in traced:
        for at, place in each.values.items():
            places.setdefault(at, []).append(place)
            said.setdefault(at, set()).update(_leaves(each))
    rules = ruled(read.reader, read.message, read.incoming, read.trial.reading.values)
    fixed = constants(read.reader.profile)
    several = _several(read.trial.reading.values)
    return {
        at: Value(
            target.kind,
            target.column,
            _of(at) if several else "",
            target.value,
            target.attribute.name,
            target.attribute.tag,
            ", ".join(places.get(at, ())),
            rules.get(at) or _by(target, said.get(at), fixed),
        )
        for at, target in read.trial.reading.values.items()
    }


def _several(values: Mapping[str, Target]) -> bool:
    return any("[" in at and not at.startswith("change[0]") for at in values) or any(
        f"{name}[1]" in at for at in values for name in ("procedures", "steps")
    )


def _of(at: str) -> str:
    """Say whose a value is: change[0].procedures[1].steps[0].modality → 1, procedure 2, step 1."""
    parts = [part.partition("[") for part in at.split(".") if "[" in part]
    names = {"change": "", "procedures": "procedure ", "steps": "step "}
    return ", ".join(
        f"{names.get(name, name + ' ')}{int(number.rstrip(']')) + 1}" for name, _, number in parts
    )


def _leaves(traced: Traced) -> list[str]:
    marks = traced.segment.delimiters
    text = traced.segment.fields[traced.number]
    for mark in (marks.repetition, marks.subcomponent):
        text = text.replace(mark, marks.component)
    return [each.strip() for each in text.split(marks.component)]


def _by(target: Target, said: Container[str] | None, fixed: Container[str]) -> str:
    """Name the table that translated a value, where it says something else than its field."""
    name = f"{target.kind}.{target.column}"
    if said is None and (name in fixed or f"with_ipc.{name}" in fixed):
        return f"the constant of {name}"
    if target.value is None or target.value in (said or ()):
        return ""
    if target.column == "modality":
        return "[modalities]"
    if target.column == "action":
        return "[control]"
    return _TABLES.get((target.kind, target.column), "")


def _segments(
    shown: Outline,
    traced: Sequence[Traced],
    values: Mapping[str, Value],
    faults: Sequence[Fault],
) -> Iterator[model.Segment]:
    by_place = {each.place: each for each in traced}
    at_fault: dict[str, list[str]] = {}
    for fault in faults:
        at_fault.setdefault(_place(fault), []).append(fault.text)
    for segment in shown.segments:
        fields = []
        for node in segment.fields:
            each = by_place.get(node.place)
            field = model.Field(node.place, node.name, node.value[:LONGEST], Use.UNTRIED)
            if each is not None:
                field = replace(
                    field,
                    use=each.use,
                    values=[value for at, value in values.items() if at in each.values],
                    asked_for=each.asked_for,
                )
            elif node.place in ("MSH-1", "MSH-2"):
                field = replace(field, use=Use.READ, asked_for=["delimiters"])
            wrong = at_fault.get(node.place, [])
            if wrong:
                field = replace(field, use=Use.FAULT)
            notes = [*wrong, *_effects(each)]
            fields.append(replace(field, notes=list(dict.fromkeys(notes))))
        yield model.Segment(segment.place, segment.title, fields)


def _effects(traced: Traced | None) -> Iterator[str]:
    if traced is not None:
        yield from sorted(traced.effect.flags)
        if traced.effect.needed and not traced.values:
            yield f"without it: {traced.effect.needed}"


def _silent(
    wanted: Sequence[Asked], message: er7.Message, values: Sequence[Value]
) -> list[model.Silent]:
    """List the columns that the profile asks for, that have a place, and get no value.

    Of tables of which something is said: a message about a patient has no order to ask for.
    """
    given = {f"{each.kind}.{each.column}" for each in values}
    tables = {each.kind for each in values}
    places: dict[str, dict[str, None]] = {}
    for each in wanted:
        key = each.key.removeprefix("with_ipc.")
        is_asked = message.first("IPC") is not None or key == each.key
        if is_asked and key.partition(".")[0] in tables and key not in given:
            places.setdefault(key, {})[str(each.place)] = None
    return [
        model.Silent(key, list(found))
        for key, found in places.items()
        if key not in _OTHER and not key.endswith(".when")
    ]


def _where(fault: Fault) -> str:
    return f"{fault.where}, {fault.occurrence}." if fault.occurrence > 1 else fault.where


def _rows(told: Rehearsed) -> list[model.Row]:
    return [
        model.Row(
            each.kind,
            each.what,
            each.name,
            each.row,
            [(name, before, after) for name, (before, after) in each.columns.items()],
        )
        for each in told.differences
    ]


def _notes(read: _Read, shown: Outline) -> Iterator[str]:
    if read.mended:
        yield f"explained as if it said nothing at {', '.join(read.mended)}"
    if read.trial is not None and read.trial.is_over:
        yield "there is too much in it to try every field"
    if shown.is_cut:
        yield "there is more than is shown here"
