"""/api/v1/messages: the journal of HL7 messages that came in."""

from base64 import b64encode
from datetime import datetime
from typing import Any

from flask import Blueprint
from pydantic import BaseModel, Field
from spectree import Tag

from mwl import journal
from mwl.accounts import Role
from mwl.journal import State
from web.api.endpoints import Day, Found, Listed, endpoint, found
from web.api.instants import day_bounds, key_by_time, time_key
from web.guard import viewed
from web.wiring import wired

blueprint = Blueprint("messages", __name__, url_prefix="/messages")

TAG = Tag(name="Messages", description="HL7 v2 messages that came in, and what became of them.")
_MOST_BYTES = 8 * 1024 * 1024


class Message(BaseModel):
    """A message, without its bytes."""

    id: int = Field(description="The number of the message here.")
    received_at: datetime = Field(description="When it was here to its last byte.")
    source: str = Field(description="MSH-3^MSH-4.")
    peer: str = Field(description="From where it came: address:port.")
    control_id: str = Field(description="MSH-10.")
    type: str = Field(description="MSH-9, as ORM^O01.")
    state: State = Field(description="What became of it.")
    ack_code: str = Field(
        description="What became of it, as MSA-1: AA, AE or AR, whichever answers were asked for."
    )
    error: str = Field(description="Why it was not applied.")
    flags: list[str] = Field(description="What a person should see of it.")
    patient_id: str = Field(description="PID-3.1 as it came, where nothing else names the patient.")
    accession_number: str = Field(description="As it came, where nothing else names the order.")
    order: int | None = Field(description="The number of the order that it changed.")
    repeats: int = Field(description="How often it came again, and was answered the same.")
    replay_of: int | None = Field(description="The message that a person had applied once more.")


class FullMessage(Message):
    """A message with its bytes and the answer's."""

    size: int = Field(description="How many bytes it has.")
    encoding: str = Field(description="How its bytes were read: a codec of Python's.")
    raw: str = Field(
        description=f"Its bytes as they came, in base64; at most {_MOST_BYTES} of them."
    )
    text: str = Field(description="The same as text; what can't be read is U+FFFD.")
    ack: str = Field(description="The answer as text, as it was sent.")
    orders: list[int] = Field(description="The numbers of the orders that it was applied to.")


class MessageSearch(Listed):
    """Which messages; all that is given must hold."""

    text: str = Field("", max_length=200, description="A control, patient ID, accession number.")
    control_id: str = Field("", max_length=200, description="MSH-10.")
    patient: str = Field("", max_length=200, description="PID-3.1, or who it was merged into.")
    accession: str = Field("", max_length=200, description="The accession number of an order.")
    type: str = Field("", max_length=20, description="MSH-9, as ORM^O01.")
    state: State | None = Field(None, description="What became of it.")
    error: str = Field("", max_length=200, description="Part of an error's text.")
    flagged: bool = Field(False, description="Only those with a flag for a person.")
    day: Day | None = Field(None, description="The day it came, by the site's calendar.")


@blueprint.get("")
@endpoint(Role.VIEWER, TAG, Found[Message], problems=(422,))
def search(query: MessageSearch) -> Found[Message]:
    """Find messages, the newest first."""
    since, until = day_bounds(query.day)
    wanted = journal.Wanted(
        text=query.text,
        control_id=query.control_id,
        patient=query.patient,
        accession=query.accession,
        type=query.type,
        state=query.state or "",
        error=query.error,
        flagged=query.flagged,
        since=since,
        until=until,
    )
    after = time_key(query.after)
    with wired().database.read() as session:
        rows = journal.search(session, wanted, after=after, limit=query.limit + 1)
    viewed("messages", **query.model_dump(mode="json", exclude_defaults=True))
    items = [Message(**_told(row)) for row in rows[: query.limit]]
    return Found[Message](items=items, after=found(rows, query.limit, key_by_time))


@blueprint.get("/<int:message>")
@endpoint(Role.VIEWER, TAG, FullMessage, problems=(404,), numbers="The number of the message.")
def get(message: int) -> FullMessage:
    """Read a message, its bytes and the answer's."""
    with wired().database.read() as session:
        kept = journal.kept(session, message, _MOST_BYTES)
    viewed(f"message:{message}")
    codec = kept.row.encoding or "utf-8"
    return FullMessage(
        **_told(kept.row),
        size=kept.size,
        encoding=kept.row.encoding,
        raw=b64encode(kept.raw).decode("ascii"),
        text=_text(kept.raw, codec),
        ack=_text(bytes(kept.row.ack), codec),
        orders=[row.id for row in kept.orders],
    )


def _told(row: Any) -> dict[str, Any]:
    told = {name: getattr(row, name) for name in Message.model_fields if name != "order"}
    return {**told, "order": row.imaging_order}


def _text(raw: bytes, codec: str) -> str:
    try:
        return raw.decode(codec, "replace")
    except LookupError:
        return raw.decode("utf-8", "replace")
