"""Matchers (`mwl.matching`) as SQL that means the same on SQLite and PostgreSQL.

A condition is two things: its `Shape`, from which a statement is built once and kept, and
its parameters. No text of a peer ever becomes part of a statement.

Wildcards are GLOB on SQLite, whose LIKE folds ASCII case and whose GLOB can use an index for
a leading literal; they are LIKE … ESCAPE elsewhere.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, and_, bindparam, func, or_, true

from mwl.matching import AnyOf, Fuzzy, Matcher, Name, Range, Single, Universal, Wildcard

# What decides a statement: the matcher's kind and the shapes of its parts. Hashable.
Shape = tuple[Any, ...]
Parameters = dict[str, Any]


def shape(matcher: Matcher) -> Shape:
    """Tell what of `matcher` decides the statement."""
    match matcher:
        case Range(low, high):
            return (Range, bool(low), bool(high))
        case Name(choices) | AnyOf(choices):
            return (type(matcher), *(shape(choice) for choice in choices))
        case Fuzzy(names):
            return (Fuzzy, *(tuple(bool(word.sound) for word in words) for words in names))
        case _:
            return (type(matcher),)


def parameters(name: str, matcher: Matcher, dialect: str) -> Parameters:
    """Give the values for the parameters that `condition` names after `name`.

    Two underscores: one and a number are how SQLAlchemy names parameters of its own.
    """
    match matcher:
        case Universal():
            return {}
        case Single(value):
            return {name: value}
        case Wildcard(pattern):
            return {name: _glob(pattern) if dialect == "sqlite" else _like(pattern)}
        case Range(low, high):
            return {f"{name}__low": low, f"{name}__high": high}
        case Fuzzy(names):
            return {
                key: value
                for i, words in enumerate(names)
                for j, word in enumerate(words)
                for key, value in (
                    (f"{name}__{i}__{j}__letters", word.letters),
                    (f"{name}__{i}__{j}__sound", word.sound),
                )
                if value
            }
        case Name(choices) | AnyOf(choices):
            return {
                key: value
                for i, choice in enumerate(choices)
                for key, value in parameters(f"{name}__{i}", choice, dialect).items()
            }


def condition(
    column: ColumnElement[str], name: str, shape: Shape, dialect: str
) -> ColumnElement[bool]:
    """Build the condition of `shape` on `column`.

    For a name, on its folded key; for a fuzzy one (`is_fuzzy`), on that of its words.
    """
    kind, *details = shape
    if kind is Single:
        return column == bindparam(name)
    if kind is Wildcard:
        return _wildcard(column, bindparam(name, type_=Text()), dialect)
    if kind is Range:
        return _range(column, name, *details)
    if kind in (Name, Fuzzy, AnyOf):
        build = {Name: _name, Fuzzy: _fuzzy, AnyOf: _any}[kind]
        return build(column, name, details, dialect)
    return true()


def is_fuzzy(shape: Shape) -> bool:
    """Tell whether a shape is that of a name's words."""
    return bool(shape[0] is Fuzzy)


def _fuzzy(
    column: ColumnElement[str], name: str, choices: Sequence[tuple[bool, ...]], dialect: str
) -> ColumnElement[bool]:
    # Neither has wildcards: nothing to escape, and quicker than a pattern.
    position = func.instr if dialect == "sqlite" else func.strpos

    def holds(parameter: str) -> ColumnElement[bool]:
        found: ColumnElement[bool] = position(column, bindparam(parameter, type_=Text())) > 0
        return found

    def word(place: str, has_sound: bool) -> ColumnElement[bool]:
        by_letters = holds(f"{place}__letters")
        return or_(by_letters, holds(f"{place}__sound")) if has_sound else by_letters

    return or_(
        *(
            and_(*(word(f"{name}__{i}__{j}", has) for j, has in enumerate(words)))
            for i, words in enumerate(choices)
        )
    )


def _any(
    column: ColumnElement[str], name: str, shapes: Sequence[Shape], dialect: str
) -> ColumnElement[bool]:
    return or_(*(condition(column, f"{name}__{i}", s, dialect) for i, s in enumerate(shapes)))


def _range(
    column: ColumnElement[str], name: str, has_low: bool, has_high: bool
) -> ColumnElement[bool]:
    # Unknown, the empty text, is in no range: it sorts before every low end.
    known = column >= bindparam(f"{name}__low") if has_low else column != ""
    return known & (column <= bindparam(f"{name}__high")) if has_high else known


def _wildcard(
    column: ColumnElement[str], pattern: ColumnElement[str], dialect: str
) -> ColumnElement[bool]:
    if dialect == "sqlite":
        return column.op("GLOB", is_comparison=True, return_type=Boolean())(pattern)
    return column.like(pattern, escape="\\")


def _name(
    column: ColumnElement[str], name: str, shapes: Sequence[Shape], dialect: str
) -> ColumnElement[bool]:
    # Few names have groups, and only those are taken apart.
    grouped = column.like("%=%")
    parts = (_any(group, name, shapes, dialect) for group in _groups(column, dialect))
    return (~grouped & _any(column, name, shapes, dialect)) | (grouped & or_(*parts))


def _groups(column: ColumnElement[str], dialect: str) -> list[ColumnElement[str]]:
    """Take a name's alphabetic, ideographic and phonetic groups apart; "" where there is none."""
    if dialect != "sqlite":
        return [func.split_part(column, "=", number) for number in (1, 2, 3)]
    groups: list[ColumnElement[str]] = []
    rest = column
    for _ in range(3):
        cut = func.instr(rest + "=", "=")
        groups.append(func.substr(rest, 1, cut - 1))
        rest = func.substr(rest, cut + 1)
    return groups


def _glob(pattern: str) -> str:
    # Only "[" needs a way out: "*" and "?" mean in GLOB what they mean in DICOM.
    return pattern.replace("[", "[[]")


_TO_LIKE = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_", "*": "%", "?": "_"})


def _like(pattern: str) -> str:
    return pattern.translate(_TO_LIKE)
