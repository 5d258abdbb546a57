"""Sort a message's segments by the order that they speak of.

What stands before the first ORC or OBR speaks of the patient and the visit, and of every
order. An ORC begins an order; an OBR begins a procedure or a step of the order whose ORC
came last, and what follows belongs to it (TQ1, NTE, OBX, IPC, ZDS, in whatever order).
"""

from dataclasses import dataclass, field

from hl7.er7 import Message, Segment
from hl7.mapping.grid import Grid, Row, View
from hl7.mapping.report import Report
from mwl.errors import Reason

Named = dict[str, list[Segment]]

_MOST_STEPS = 1_000
_TURNS = frozenset({"ORC", "OBR", "PID"})  # where something else begins


@dataclass(slots=True)
class Group:
    """One ORC with what follows it: `common` up to its first OBR, then `details` by OBR.

    `rows` has one row an OBR, and one for a group without: everything that it can look at,
    the patient's segments included, and the NTE of its own.
    """

    common: Named = field(default_factory=dict)
    details: list[Named] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


def split(message: Message, grid: Grid, report: Report) -> tuple[Named, list[Group]]:
    """Give the segments before the first order, and the orders."""
    named = message.named
    if len(named) == len(message.segments) and _is_simple([*named]):
        # Most orders: whatever the message has it has once, so all of it is of the one order.
        return named, [Group(named, [named], [grid.lay_out(named)])]
    head: Named = {}
    groups: list[Group] = []
    current = head
    for segment in message.segments:
        name = segment.name
        if name not in _TURNS:
            pass
        elif name == "ORC":
            groups.append(Group())
            current = groups[-1].common
        elif name == "OBR":
            if not groups:
                groups.append(Group())  # an order without ORC
            current = {}
            groups[-1].details.append(current)
        elif name == "PID" and "PID" in head:
            # Whose are the orders? Also the prior results that OMG may carry.
            report.fault(
                Reason.SEQUENCE, "PID", "orders of one patient a message", segment.occurrence
            )
        namesakes = current.get(name)
        if namesakes is None:
            current[name] = [segment]
        else:
            namesakes.append(segment)
    if len(message.segments) > _MOST_STEPS and _steps(groups) > _MOST_STEPS:
        report.fault(Reason.SEQUENCE, "OBR", f"more than {_MOST_STEPS} steps in a message")
        return head, []
    for group in groups:
        for detail in group.details or [group.common]:
            row = grid.lay_out({**head, **group.common, **detail})
            group.rows.append(with_notes(row, detail))
    return head, groups


def _is_simple(names: list[str]) -> bool:
    """Tell whether segments, each of another name, are one ORC with its OBR, without notes."""
    if "ORC" not in names or "OBR" not in names or "NTE" in names:
        return False
    return names.index("ORC") < names.index("OBR")


def _steps(groups: list[Group]) -> int:
    details = [detail for group in groups for detail in group.details]
    return sum(max(1, len(detail.get("IPC", ()))) for detail in details)


def with_notes(row: Row, source: View) -> Row:
    """Let the NTE of a row be those of `source` alone: each place has its own."""
    view, cells, shape = row
    if "NTE" not in view or view["NTE"] is source.get("NTE"):
        return row
    return {**view, "NTE": source.get("NTE", ())}, cells, shape
