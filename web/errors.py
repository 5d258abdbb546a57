"""What a person, or a program, is told when a request can't be served."""

import structlog
from flask import Flask, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from mwl.errors import Outage, Reason, Rejected
from mwl.objects import Missing
from web.guard import API

log = structlog.get_logger(__name__)

_TEXTS = {
    400: "The request can't be understood.",
    403: "Your role does not allow this. An administrator can change it.",
    404: "There is no such page, or what it showed is gone.",
    405: "This page can't be asked in that way.",
    409: "That can't be done as things are.",
    413: "That is too much at once.",
    429: "Too many requests: wait a moment.",
}

# What the REST API answers to what was asked wrongly; all else contradicts how things are.
_STATUS = {
    Reason.UNKNOWN_KEY: 404,
    **dict.fromkeys((Reason.MISSING, Reason.MALFORMED, Reason.TOO_LONG, Reason.UNKNOWN_CODE), 422),
}


class Problem(Exception):
    """A request can't be served, for a reason to be told: a status of HTTP, and a text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def tell(app: Flask) -> None:
    """Have errors answered in the house's words, without a traceback."""
    app.register_error_handler(CSRFError, _forged)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(Rejected, _rejected)
    app.register_error_handler(Outage, _outage)
    app.register_error_handler(Missing, _missing)
    app.register_error_handler(Exception, _defect)


def _answer(status: int, text: str) -> ResponseReturnValue:
    if request.path.startswith(API):
        return {"error": text}, status
    return render_template("error.html", status=status, text=text), status


def _forged(_error: CSRFError) -> ResponseReturnValue:
    return _answer(400, "The form is too old, or not one of ours: go back, reload, try again.")


def _http(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    if status < 400:
        return error.get_response()
    return _answer(status, _TEXTS.get(status, error.name))


def _problem(error: Problem) -> ResponseReturnValue:
    return _answer(error.status, error.text)


def _rejected(error: Rejected) -> ResponseReturnValue:
    if not request.path.startswith(API):
        return _answer(409, str(error))
    statuses = {_STATUS.get(fault.reason, 409) for fault in error.faults}
    return _answer(statuses.pop() if len(statuses) == 1 else 409, str(error))


def _outage(error: Outage) -> ResponseReturnValue:
    log.warning("web.outage", error=str(error))
    return _answer(503, "The database or the image store can't be reached just now: try again.")


def _missing(error: Missing) -> ResponseReturnValue:
    log.error("web.object_missing", error=str(error))
    return _answer(404, "The image store has lost it: `mwl verify` tells what else is missing.")


def _defect(error: Exception) -> ResponseReturnValue:
    log.exception("web.defect", exc_info=error)
    return _answer(500, "Something failed here; the operator's log tells more.")
