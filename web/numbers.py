"""Numbers of rows, as they stand in URLs."""

from flask import Flask
from werkzeug.routing import IntegerConverter

LARGEST = 2**31 - 1  # what a database's integer holds; more is no row of ours


class RowNumber(IntegerConverter):
    """`<int:…>` of our routes: a number that no row can have leads nowhere."""

    def __init__(self, url_map: object, *args: object, **kwargs: object) -> None:
        """Bound it."""
        super().__init__(url_map, *args, **{"max": LARGEST, **kwargs})  # type: ignore[arg-type]


def bound(app: Flask) -> None:
    """Bound the numbers of every route; call it before the first is made."""
    app.url_map.converters["int"] = RowNumber


def bounded(text: str) -> int:
    """Read the number of a row, brought within what one can be. Raises ValueError."""
    return max(0, min(int(text), LARGEST))
