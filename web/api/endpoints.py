"""What all endpoints share: who may ask, what is checked, how problems are told, cursors."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Annotated, Any, Generic, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from spectree import Response, SecurityScheme, SpecTree, Tag
from spectree.models import SecureType, SecuritySchemeData

from mwl.accounts import Role
from mwl.config import describe
from web.errors import Problem
from web.guard import allowed
from web.numbers import LARGEST

_BETWEEN = "~"  # the keys of a cursor
_JSON = "application/json"

T = TypeVar("T")
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Limit = Annotated[int, Field(ge=1, le=500)]
Cursor = Annotated[str, Field(max_length=200)]


class Given(BaseModel):
    """What a request brings. What is not known is refused, so that no slip is silent."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, given: Any) -> Any:
        """Refuse what no database's text can hold: NUL, and halves of characters."""
        for value in _texts(given):
            if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
                raise ValueError("holds a character that is none")
        return given


class Listed(Given):
    """What every list is asked for."""

    limit: Limit = Field(50, description="At most so many.")
    after: Cursor | None = Field(
        None, description="Go on behind there: what the answer before gave as after."
    )


class Found(BaseModel, Generic[T]):
    """A part of a list."""

    items: list[T]
    after: str | None = Field(description="Where the list goes on; null: it ends here.")


class Error(BaseModel):
    """Why something was not done."""

    error: str = Field(description="For people: what is wrong, where, what to do.")


def _texts(value: Any) -> Iterator[str]:
    """Give the texts in a value, however deep they lie."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += [*each, *each.values()]


_AS_SAID = {"extra_forbidden": "there is no such key", "missing": "is missing"}


def _refuse(_request: Any, _response: Any, error: Any, *_: Any) -> None:
    """Tell what of a request is wrong, in the one shape that errors have."""
    if isinstance(error, ValidationError):
        faults = (
            f"{'.'.join(map(str, each['loc'])) or 'request'}: "
            f"{_AS_SAID.get(each['type']) or describe(each)}"
            for each in error.errors()
        )
        raise Problem(422, "; ".join(faults))


def _complain(_request: Any, _response: Any, error: Any, *_: Any) -> None:
    """Let a defect be one: an answer that is not what the document says."""
    if error is not None:
        raise error


_models: dict[str, Any] = {}


def _name(model: Any) -> str:
    """Name a model in the document, each differently: Found[Entry] is EntryFound."""
    outer, _, inner = model.__name__.partition("[")
    name = f"{inner.rstrip(']')}{outer}"
    if _models.setdefault(name, model) is not model:
        raise TypeError(f"{name}: two models of the API have this name")
    return name


_spec = SpecTree(
    "flask",
    mode="strict",
    title="mwl-bridge",
    version="1",
    description=(
        "Worklist, orders, patients, messages, studies, devices and associations of the bridge "
        "between a RIS and its scanners. Text is never null: empty means unknown, as on the wire. "
        "Names are DICOM PN (Doe^Jane), dates of people DA (YYYYMMDD), instants ISO 8601 with "
        "an offset."
    ),
    before=_refuse,
    after=_complain,
    naming_strategy=_name,
    nested_naming_strategy=lambda _parent, child: child,
    validation_error_model=Error,
    security_schemes=[
        SecurityScheme(
            name="token",
            data=SecuritySchemeData(
                type=SecureType.HTTP,
                scheme="bearer",
                description="Made by mwl token add NAME --role ROLE, or on the page Users.",
            ),
        )
    ],
    security=[{"token": []}],
    page_templates={},
)

_PROBLEMS = {
    400: "The request can't be understood.",
    401: "No token, or one that is not good.",
    403: "The token's role may not do this.",
    404: "There is none.",
    409: "That can't be done as things are.",
    415: "A body is JSON.",
    422: "A value is wrong; the text says which, and how.",
    503: "The database or the image store can't be reached just now; asking again may help.",
}


def endpoint(  # noqa: PLR0913 - what the document says of it
    role: Role,
    tag: Tag,
    answer: Any,
    *,
    status: int = 200,
    problems: Sequence[int] = (),
    numbers: str | Sequence[str] = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a view an endpoint: for whom it is, what it takes (by annotations) and gives.

    `problems` are the ways to fail that not every endpoint has; `numbers` says what the
    number in the path is, or each of several.
    """
    in_path = [numbers] if isinstance(numbers, str) else numbers
    also = {f"HTTP_{code}": (Error, _PROBLEMS[code]) for code in (400, 401, 403, *problems, 503)}

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        takes_json = "json" in view.__annotations__
        if takes_json:
            also["HTTP_415"] = (Error, _PROBLEMS[415])
        view.__doc__ = f"{view.__doc__}\n\nFor the role {role} and those above it."
        validated = _spec.validate(
            resp=Response(**{f"HTTP_{status}": answer, **also}),
            tags=[tag],
            operation_id=f"{tag.name}_{view.__name__}".lower(),
            path_parameter_descriptions=dict(zip(view.__code__.co_varnames, in_path, strict=False)),
        )(view)

        @wraps(validated)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if takes_json:
                _require_json()
            return validated(*args, **kwargs)

        return allowed(role)(checked)

    return decorate


def document() -> dict[str, Any]:
    """Describe the API, as OpenAPI 3.1."""
    described: dict[str, Any] = _spec.spec
    return described


def _require_json() -> None:
    if request.mimetype != _JSON:
        raise Problem(415, f"send JSON, and say so: Content-Type: {_JSON}")
    if not isinstance(request.get_json(silent=True), dict):
        raise Problem(400, "the body is no JSON object")


def absent(what: str) -> Problem:
    """Say that there is none."""
    return Problem(404, f"there is no such {what}")


def place(cursor: str | None) -> tuple[str, ...]:
    """Read a cursor: the keys of a row, its number the last of them. Raises Problem."""
    if not cursor:
        return ()
    keys = tuple(cursor.split(_BETWEEN))
    if re.fullmatch("[0-9]{1,10}", keys[-1]) is None or int(keys[-1]) > LARGEST:
        raise not_a_cursor()
    return keys


def not_a_cursor() -> Problem:
    """Say that a cursor leads nowhere."""
    return Problem(400, "after: is no cursor of this list")


def found(rows: Sequence[Any], limit: int, key: Callable[[Any], Sequence[object]]) -> str | None:
    """Give the cursor behind the last of `limit` rows; None where no more were found."""
    if len(rows) <= limit:
        return None
    return _BETWEEN.join(map(str, key(rows[limit - 1])))
