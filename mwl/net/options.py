"""SOP class extended negotiation: options of a query or a retrieval (PS3.7 D.3.3.5).

What a peer asks for is a row of bytes whose meaning the SOP class decides, each 1 for "yes":

| SOP classes                    | bytes, in this order                                         |
|--------------------------------|--------------------------------------------------------------|
| C-FIND of the Q/R models       | relational queries, combined date and time, fuzzy names,     |
| (PS3.4 C.5.1.1)                | time zone, conversion of multi-frames, empty value matching, |
|                                | multiple value matching                                      |
| C-MOVE, C-GET (PS3.4 C.5.2.1)  | relational retrieval, conversion of multi-frames             |
| Modality Worklist (PS3.4 K.5.1)| 1, 1 (reserved), fuzzy names, time zone                      |

The answer is as long as the question, or as the row where that is shorter; a byte that is
not answered counts as 0. For every other SOP class there is no answer, which says that the
defaults hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from mwl.net.pdu import ExtendedItem


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a SOP class: what a service supports, or what was agreed on for a context."""

    relational: bool = False
    combined_date_time: bool = False
    fuzzy: bool = False
    timezone: bool = False
    empty_values: bool = False
    multiple_values: bool = False

    def __and__(self, other: "Options") -> "Options":
        """Give what stands in both."""
        return Options(
            **{
                each.name: getattr(self, each.name) and getattr(other, each.name)
                for each in fields(Options)
            }
        )


NONE = Options()

_ALWAYS = "1"  # a reserved byte that is sent as 1
_NEVER = "0"  # what we never do

_FIND = (
    "relational",
    "combined_date_time",
    "fuzzy",
    "timezone",
    _NEVER,
    "empty_values",
    "multiple_values",
)
_RETRIEVE = ("relational", _NEVER)
_WORKLIST = (_ALWAYS, _ALWAYS, "fuzzy", "timezone")

_LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "1.2.840.10008.5.1.4.31": _WORKLIST,
    # Patient Root, Study Root, Patient/Study Only (PS3.4 C.6): FIND, MOVE, GET.
    **{
        f"1.2.840.10008.5.1.4.1.2.{model}.{number}": layout
        for model in (1, 2, 3)
        for number, layout in ((1, _FIND), (2, _RETRIEVE), (3, _RETRIEVE))
    },
}


def asked(item: ExtendedItem) -> Options:
    """Read what a peer asks for; nothing where its SOP class knows no options of ours."""
    layout = _LAYOUTS.get(item.sop_class, ())
    names = {name for name, value in zip(layout, item.information, strict=False) if value == 1}
    return Options(**dict.fromkeys(names - {_ALWAYS, _NEVER}, True))


def answer(item: ExtendedItem, agreed: Options) -> ExtendedItem | None:
    """Write the answer to `item`; None: there is nothing to say to it."""
    layout = _LAYOUTS.get(item.sop_class, ())[: len(item.information)]
    return ExtendedItem(item.sop_class, _written(layout, agreed)) if layout else None


def proposal(sop_class: str, wanted: Options) -> ExtendedItem:
    """Write what we ask of a peer for a SOP class. KeyError: it has no options."""
    return ExtendedItem(sop_class, _written(_LAYOUTS[sop_class], wanted))


def _written(layout: tuple[str, ...], options: Options) -> bytes:
    return bytes(name == _ALWAYS or (name != _NEVER and getattr(options, name)) for name in layout)
