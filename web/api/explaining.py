"""/api/v1/explain, and messages replayed: told before they are done."""

from base64 import b64decode
from binascii import Error as NotBase64
from datetime import datetime
from typing import Any, Self

from flask import Blueprint
from pydantic import AwareDatetime, BaseModel, Field, model_validator
from spectree import Tag

from mwl import journal
from mwl.accounts import Role
from mwl.errors import Reason, Rejected
from mwl.journal import Overrides, State
from web.api.endpoints import Cursor, Given, absent, endpoint, found
from web.api.instants import key_by_time, time_key
from web.errors import Problem
from web.explaining import columns_of, note_view
from web.guard import actor, viewed
from web.wiring import wired

blueprint = Blueprint("explaining", __name__)

TAG = Tag(name="Replays", description="What messages would do, and messages applied once more.")
_LONGEST = 900_000
_PORTION, _PORTION_S = 200, 5.0  # messages and time of a request that applies them


class Text(Given):
    """Messages to be explained: as text, or as bytes."""

    text: str = Field("", max_length=_LONGEST, description="HL7 v2 messages as text.")
    raw: str = Field("", max_length=_LONGEST, description="The same as bytes, in base64.")
    profile: str = Field("", max_length=64, description="By this profile; empty: the sender's.")
    listener: str = Field("", max_length=64, description="As if they came in on this listener.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if bool(self.text) == bool(self.raw):
            raise ValueError("give text, or raw")
        return self


class Value(BaseModel):
    """A value of the worklist that a message gives."""

    kind: str = Field(description="Of what: patient, order, procedure, step.")
    column: str = Field(description="What it is called here.")
    of: str = Field(description="Whose it is where there are several.")
    value: str | None = Field(description="What it says; null deletes what is known.")
    attribute: str = Field(description="The DICOM attribute; empty: scanners aren't shown it.")
    tag: str = Field(description="Its tag, as (0010,0010).")
    place: str = Field(description="The field that it comes from; empty: none.")
    by: str = Field(description="The table or rule of the profile that translated it.")


class ExplainedField(BaseModel):
    """A field that says something."""

    place: str = Field(description="PID-5.")
    name: str = Field(description="What the standard calls it.")
    text: str = Field(description="What it says.")
    use: str = Field(description="gives, needed, read, ignored, at fault or not tried.")
    values: list[Value] = Field(description="What comes of it.")
    asked_for: list[str] = Field(description="The keys of the profile that ask for it.")
    notes: list[str] = Field(description="What a person should see of it.")


class ExplainedSegment(BaseModel):
    """A segment."""

    place: str = Field(description="OBX(2).")
    title: str = Field(description="What the standard calls it.")
    fields: list[ExplainedField] = Field(description="The fields that say something.")


class SilentKey(BaseModel):
    """What a profile asks for and a message does not say."""

    key: str = Field(description="The key of the profile.")
    places: list[str] = Field(description="Where it would stand.")


class MissingAttribute(BaseModel):
    """What a scanner wants and a message does not say."""

    of: str = Field(description="Whose it is where there are several.")
    attribute: str = Field(description="The attribute.")
    then: str = Field(description="What follows.")


class MessageFault(BaseModel):
    """What is wrong with a message."""

    where: str = Field(description="The field.")
    text: str = Field(description="What is wrong with it.")
    code: str = Field(description="MSA-1 that it leads to.")


class ChangedColumn(BaseModel):
    """A value that would differ."""

    column: str = Field(description="Its name.")
    before: Any = Field(None, description="Before; null: there is none.")
    after: Any = Field(None, description="After; null: there is none.")


class ChangedRow(BaseModel):
    """A row that would differ."""

    kind: str = Field(description="patient, link, order, procedure, step, study or delivery.")
    what: str = Field(description="created, changed or deleted.")
    name: str = Field(description="What people call it.")
    row: int | None = Field(description="Its number; null for a new one.")
    columns: list[ChangedColumn] = Field(description="What differs of it.")


class Explained(BaseModel):
    """What a message would do, and why. Nothing was done."""

    type: str = Field(description="MSH-9, as ORM^O01.")
    control_id: str = Field(description="MSH-10.")
    source: str = Field(description="MSH-3^MSH-4.")
    profile: str = Field(description="The profile that it was read by.")
    why_profile: str = Field(description="By what that was chosen.")
    encoding: str = Field(description="How its bytes were read.")
    decoding: list[str] = Field(description="What is odd about that.")
    action: str = Field(description="What it asks for.")
    segments: list[ExplainedSegment] = Field(description="Field by field.")
    values: list[Value] = Field(description="All that it gives.")
    silent: list[SilentKey] = Field(description="What the profile asks for in vain.")
    missing: list[MissingAttribute] = Field(description="What a scanner asks for in vain.")
    flags: list[str] = Field(description="What a person should see.")
    faults: list[MessageFault] = Field(description="What is wrong with it.")
    ack_code: str = Field(description="MSA-1 that it would get.")
    ack: str = Field(description="The answer that it would get.")
    state: State = Field(description="What would become of it.")
    rows: list[ChangedRow] = Field(description="What would change.")
    repeat_of: int | None = Field(description="The message that was accepted with these bytes.")
    notes: list[str] = Field(description="About the explanation itself.")


class Explanations(BaseModel):
    """Messages explained."""

    items: list[Explained] = Field(description="One after another.")
    left: int = Field(description="How many more there are.")


class Replaying(Given):
    """How messages are to be replayed."""

    dry_run: bool = Field(True, description="Tell what it would do, and do nothing.")
    accepted: bool = Field(False, description="Although it was accepted before.")
    older: bool = Field(False, description="Although something newer was applied since.")


class OneReplay(Replaying):
    """How a message is to be replayed."""

    same_patient: bool = Field(
        False, description="It is the patient on file, whatever name and birth date it says."
    )


class ManyReplays(Replaying):
    """Which messages are to be replayed, and how; all that is given must hold."""

    text: str = Field("", max_length=200, description="A control, patient ID, accession number.")
    source: str = Field("", max_length=200, description="MSH-3^MSH-4.")
    type: str = Field("", max_length=20, description="MSH-9, as ORM^O01.")
    state: State | None = Field(None, description="What became of them.")
    error: str = Field("", max_length=200, description="Part of an error's text.")
    since: AwareDatetime | None = Field(None, description="Those that came from then on.")
    until: AwareDatetime | None = Field(None, description="Those that came before.")
    after: Cursor | None = Field(None, description="Go on behind there: what came before as after.")

    def wanted(self) -> journal.Wanted:
        """Give the filter. Raises Problem for none."""
        found = journal.Wanted(
            text=self.text,
            source=self.source,
            type=self.type,
            state=self.state or "",
            error=self.error,
            since=self.since,
            until=self.until,
        )
        if found == journal.Wanted():
            raise Problem(422, "say which: by state, source, type, error, text, since or until")
        return found


class Replayed(BaseModel):
    """What became of a message, or would."""

    state: State = Field(description="What became of it.")
    ack_code: str = Field(description="MSA-1 that its sender would get.")
    error: str = Field(description="What is wrong with it.")
    flags: list[str] = Field(description="What a person should see.")
    row: int | None = Field(description="The number of the replay; null: nothing was done.")
    rows: list[ChangedRow] = Field(description="What would change; empty where it was done.")


class Tried(BaseModel):
    """One of many messages."""

    message: int = Field(description="Its number.")
    received_at: datetime = Field(description="When it came.")
    type: str = Field(description="MSH-9.")
    control_id: str = Field(description="MSH-10.")
    fate: str = Field(description="What becomes of it, as applied, or refused as before.")
    error: str = Field(description="What is wrong with it.")
    row: int | None = Field(description="The number of the replay, where it was replayed.")


class Course(BaseModel):
    """How many messages went, or would go."""

    counts: dict[str, int] = Field(description="How many, by what becomes of them.")
    tried: list[Tried] = Field(description="Each, as they came.")
    left: int = Field(description="How many come behind these.")
    more: bool = Field(description="Whether left is only the least that do.")
    after: str | None = Field(description="Where to go on; null: these were all.")
    rows: list[ChangedRow] = Field(description="What all would change; empty where it was done.")


@blueprint.post("/explain")
@endpoint(Role.TECHNOLOGIST, TAG, Explanations, problems=(422,))
def explain(json: Text) -> Explanations:
    """Tell what messages would do, and do nothing."""
    try:
        content: str | bytes = b64decode(json.raw, validate=True) if json.raw else json.text
    except NotBase64:
        raise Problem(422, "raw: is no base64") from None
    wiring = wired()
    try:
        told, left = wiring.tools.explain(content, wiring.clock(), json.profile, json.listener)
    except Rejected as error:
        raise _problem(error) from None
    note_view(told)
    items = [Explained(**{**each.as_dict(), "rows": _rows(each.rows or ())}) for each in told]
    return Explanations(items=items, left=left)


@blueprint.post("/messages/<int:message>/replay")
@endpoint(Role.ADMIN, TAG, Replayed, problems=(404, 409, 422), numbers="The number of the message.")
def replay(message: int, json: OneReplay) -> Replayed:
    """Apply a message once more; or tell what that would do."""
    wiring, overrides = wired(), Overrides(json.accepted, json.older, json.same_patient)
    tool = wiring.tools.rehearse if json.dry_run else wiring.tools.replay
    try:
        done: Any = tool(message, actor(), overrides, wiring.clock())
    except Rejected as error:
        if any(fault.reason is Reason.UNKNOWN_KEY for fault in error.faults):
            raise absent("message") from None
        raise _problem(error, 409) from None
    settled = done.settled if json.dry_run else done
    return Replayed(
        state=settled.state,
        ack_code=settled.ack_code,
        error=settled.error,
        flags=list(settled.flags),
        row=None if json.dry_run else done.row,
        rows=_rows(done.differences) if json.dry_run else [],
    )


@blueprint.post("/messages/replay")
@endpoint(Role.ADMIN, TAG, Course, problems=(422,))
def replay_many(json: ManyReplays) -> Course:
    """Apply messages once more, one after another; or tell what that would do."""
    wanted, overrides = json.wanted(), Overrides(json.accepted, json.older)
    ranges, clock, after = wired().tools.ranges, wired().clock, time_key(json.after)
    if json.dry_run:
        course = ranges.rehearse(wanted, actor(), overrides, now=clock(), after=after)
        viewed("messages", replay=True)
    else:
        course = ranges.apply(
            wanted,
            actor(),
            overrides,
            clock=clock,
            after=after,
            most=_PORTION,
            longest_s=_PORTION_S,
        )
    tried = [_Row(each) for each in course.tried]
    return Course(
        counts=course.counts,
        tried=[Tried(**each.told()) for each in tried],
        left=course.left,
        more=course.more,
        after=found([*tried, None], len(tried), key_by_time) if course.after else None,
        rows=_rows(course.differences),
    )


class _Row:
    """A message of a range, with what a cursor needs."""

    def __init__(self, tried: Any) -> None:
        self._tried = tried
        self.received_at, self.id = tried.received_at, tried.message

    def told(self) -> dict[str, Any]:
        names = [name for name in Tried.model_fields if name != "fate"]
        return {**{n: getattr(self._tried, n) for n in names}, "fate": str(self._tried.fate)}


def _rows(rows: Any) -> list[ChangedRow]:
    return [
        ChangedRow(
            kind=row.kind,
            what=row.what,
            name=row.name,
            row=row.row,
            columns=[
                ChangedColumn(column=name, before=before, after=after)
                for name, before, after in columns_of(row)
            ],
        )
        for row in rows
    ]


def _problem(error: Rejected, status: int = 422) -> Problem:
    return Problem(status, "; ".join(map(str, error.faults)))
