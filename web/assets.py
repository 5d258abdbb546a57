"""Style sheets and scripts: few, small, from this machine alone.

They are read once, when a process starts. Their URL carries a hash of what they hold, so
that a browser keeps them until they change; only what is here has a URL at all.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import flask_bootstrap
from flask import Blueprint, Flask, Response, abort, request

from web.guard import public

_OURS = Path(__file__).with_name("static")
_BOOTSTRAP = Path(flask_bootstrap.__file__).parent / "static" / "bootstrap5" / "css"
_A_YEAR_S = 31_536_000
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_RULE = re.compile(r"([^{}]+)(\{[^{}]*\})")
_DARK = "[data-bs-theme=dark]"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent; `digest` is part of its URL."""

    name: str
    content: bytes
    packed: bytes
    digest: str

    @property
    def media_type(self) -> str:
        return _TYPES[Path(self.name).suffix]


def serve(app: Flask) -> None:
    """Serve the files, and let templates name them by `asset("app.css")`."""
    files = {each.name: each for each in _read()}
    blueprint = Blueprint("assets", __name__)

    @blueprint.get("/static/<digest>/<name>")
    @public
    def file(digest: str, name: str) -> Response:
        found = files.get(name)
        if found is None or digest != found.digest:
            abort(404)
        packed = request.accept_encodings["gzip"] > 0
        answer = Response(found.packed if packed else found.content, mimetype=found.media_type)
        answer.headers["Cache-Control"] = f"public, max-age={_A_YEAR_S}, immutable"
        answer.headers["Vary"] = "Accept-Encoding"
        if packed:
            answer.headers["Content-Encoding"] = "gzip"
        return answer

    def asset(name: str) -> str:
        return f"/static/{files[name].digest}/{name}"

    app.register_blueprint(blueprint)
    app.jinja_env.globals["asset"] = asset


@cache
def _read() -> list[Asset]:
    bootstrap = (_BOOTSTRAP / "bootstrap.min.css").read_text("utf-8")
    texts = {"bootstrap.css": dark_by_preference(bootstrap)}
    for path in sorted(_OURS.iterdir()):
        if path.suffix in _TYPES:
            texts[path.name] = path.read_text("utf-8")
    return [_asset(name, text.encode()) for name, text in texts.items()]


def _asset(name: str, content: bytes) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(name, content, gzip.compress(content, mtime=0), digest)


def dark_by_preference(css: str) -> str:
    """Let Bootstrap's dark colours follow the browser's preference, without a script.

    It has them for an attribute only that a script would have to set.
    """
    css = re.sub(r"/\*# sourceMappingURL=.*?\*/", "", css)
    dark = [
        selectors.replace(_DARK, ":root") + body
        for selectors, body in _RULE.findall(css)
        if _DARK in selectors and f"navbar{_DARK}" not in selectors
    ]
    return f"{css}@media (prefers-color-scheme:dark){{{''.join(dark)}}}"
