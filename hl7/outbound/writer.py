"""Write segments: fields by their number, values escaped, delimiters the standard ones.

hl7apy builds such messages too, at some 10 ms each and with the escapes left to the caller;
in the tests it checks what is written here, against the structures of each version.
"""

from collections.abc import Iterable, Mapping

from hl7.escapes import STANDARD, escape

Component = str | tuple[str, ...]  # a tuple: subcomponents
Field = str


def text(value: str) -> Field:
    """Write a value that has no components."""
    return escape(value)


def components(*parts: Component) -> Field:
    """Write components; empty ones at the end are left out (2.6.2)."""
    return STANDARD.component.join(map(_part, parts)).rstrip(STANDARD.component)


def repeated(fields: Iterable[Field]) -> Field:
    """Write repetitions."""
    return STANDARD.repetition.join(fields)


def segment(name: str, fields: Mapping[int, Field]) -> str:
    """Write a segment; `fields` by number, as the standard counts them."""
    last = max((number for number, field in fields.items() if field), default=0)
    values = [fields.get(number, "") for number in range(1, last + 1)]
    return STANDARD.field.join([name, *values])


def header(fields: Mapping[int, Field]) -> str:
    """Write MSH: its first field is the separator itself (2.16.9.1)."""
    rest = segment("", {number - 1: field for number, field in fields.items() if number > 2})
    return f"MSH{STANDARD.field}{STANDARD.msh_2}{rest.removeprefix(STANDARD.field)}"


def _part(part: Component) -> str:
    if isinstance(part, str):
        return escape(part)
    return STANDARD.subcomponent.join(map(escape, part)).rstrip(STANDARD.subcomponent)
