"""/api/v1/associations: what peers have open now."""

from datetime import datetime
from typing import Any

from flask import Blueprint
from pydantic import BaseModel, Field
from spectree import Tag
from sqlmodel import Session
from werkzeug.exceptions import BadRequest

from mwl import associations
from mwl.accounts import Role
from mwl.associations import Open, Wanted
from mwl.errors import Rejected
from web.api.endpoints import Found, Listed, absent, endpoint, found, not_a_cursor, place
from web.associations import named
from web.guard import actor
from web.instants import beside, keys
from web.lists import Place
from web.wiring import wired

blueprint = Blueprint("associations", __name__, url_prefix="/associations")

TAG = Tag(name="Associations", description="DICOM associations that are open now.")
_NUMBER = "The number of the association."


class Context(BaseModel):
    """A presentation context that was accepted."""

    abstract_syntax: str = Field(description="UID of the SOP class.")
    abstract_name: str = Field(description="Its name; the UID where the standard knows none.")
    transfer_syntax: str = Field(description="UID of the transfer syntax that was agreed on.")
    transfer_name: str = Field(description="Its name; the UID where the standard knows none.")


class Association(BaseModel):
    """An association that is open, as it was a few seconds ago."""

    id: int = Field(description="The number of the association here; it never comes again.")
    address: str = Field(description="The peer's IP address.")
    calling: str = Field(description='Its AE title; "": blank, or nothing was asked yet.')
    called: str = Field(description="The AE title that it called.")
    tls: bool = Field(description="Whether it is over TLS.")
    contexts: list[Context] = Field(description="The accepted presentation contexts.")
    operation: str = Field(description='What is being done, as C-STORE; "": it rests.')
    received_bytes: int = Field(description="Bytes that came.")
    sent_bytes: int = Field(description="Bytes that went.")
    messages: int = Field(description="DIMSE messages that came.")
    since: datetime = Field(description="When the peer connected.")
    changed_at: datetime = Field(description="When it was last seen to do something.")
    ending: bool = Field(description="Whether somebody has asked for its end.")
    place: str = Field(description="Which process serves it.")


class AssociationSearch(Listed):
    """Which associations; all that is given must hold."""

    text: str = Field("", max_length=200, description="Part of an AE title or an IP address.")
    calling: str = Field("", max_length=64, description="The peer's AE title.")


@blueprint.get("")
@endpoint(Role.VIEWER, TAG, Found[Association], problems=(422,))
def search(query: AssociationSearch) -> Found[Association]:
    """List what is open, the longest first."""
    wanted = Wanted(wired().clock(), calling=query.calling, text=query.text)
    try:
        after = beside(Place(place(query.after)))
    except BadRequest:
        raise not_a_cursor() from None
    with wired().database.read() as session:
        rows = associations.page(session, wanted, **after, limit=query.limit + 1)
    items = [_association(row) for row in rows[: query.limit]]
    key = found(rows, query.limit, lambda row: keys(row.since, row.id))
    return Found[Association](items=items, after=key)


@blueprint.get("/<int:association>")
@endpoint(Role.VIEWER, TAG, Association, problems=(404,), numbers=_NUMBER)
def get(association: int) -> Association:
    """Read one that is open."""
    with wired().database.read() as session:
        return _known(session, association)


@blueprint.post("/<int:association>/abort")
@endpoint(Role.ADMIN, TAG, Association, status=202, problems=(404,), numbers=_NUMBER)
def abort(association: int) -> tuple[Association, int]:
    """Have one aborted: the process that serves it does so within seconds."""
    who, now = actor(), wired().clock()

    def work(session: Session) -> Association:
        try:
            associations.end(session, who, association, now=now)
        except Rejected:
            raise absent("association") from None
        return _known(session, association)

    return wired().database.write(work), 202


def _known(session: Session, row: int) -> Association:
    found = associations.get(session, row, now=wired().clock())
    if found is None:
        raise absent("association")
    return _association(found)


def _association(row: Open) -> Association:
    told: dict[str, Any] = {name: getattr(row, name) for name in Association.model_fields}
    contexts = [
        Context(
            abstract_syntax=abstract,
            abstract_name=named(abstract),
            transfer_syntax=transfer,
            transfer_name=named(transfer),
        )
        for abstract, transfer in row.contexts
    ]
    return Association(**{**told, "contexts": contexts})
