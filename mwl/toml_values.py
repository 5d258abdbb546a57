"""Keys and values as TOML writes them."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL: Final = re.compile(r"[\x7f-\x9f\u2028\u2029]")  # JSON leaves them as they are


def pairs(table: Mapping[str, Any]) -> Iterator[str]:
    """Write what a table holds, line by line."""
    for name, each in table.items():
        yield f"{key(name)} = {value(each)}"


def key(name: str) -> str:
    """Write a key, in quotes where it needs them."""
    return name if _BARE.fullmatch(name) else value(name)


def value(given: Any) -> str:
    """Write a text, a number, truth, a list or a table, on one line as an inline table must be."""
    if isinstance(given, dict):
        return f"{{ {', '.join(pairs(given))} }}"
    if isinstance(given, list | tuple):
        return f"[{', '.join(map(value, given))}]"
    if isinstance(given, Decimal):
        return str(given)
    text = json.dumps(given, ensure_ascii=False)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
