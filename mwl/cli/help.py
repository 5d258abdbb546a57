"""Help that reads like documentation: whole sentences, and commands under headings.

Typer cuts the line of a command where the terminal ends, names Python's types beside
arguments, and lists options that write into somebody's ~/.bashrc. Here a line is wrapped,
an argument has the name that its text uses, and `mwl completion` prints what others install.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_LONGEST = 500  # characters of a command's line: no end that matters
_INSTALLERS = {"install_completion", "show_completion"}

SECTIONS: Mapping[str, Sequence[str]] = {
    "Begin": ("serve", "check", "demo"),
    "Orders and scanners": (
        *(
            "worklist",
            "story",
            "patient",
            "messages",
            "hl7",
            "device",
            "study",
            "report",
            "associations",
        ),
    ),
    "What waits for a person": ("mpps", "commit", "outbox", "verify"),
    "People and shells": ("user", "token", "completion"),
}
"""The commands of `mwl`, as a newcomer needs them. One that is in none comes last."""


class App(typer.Typer):
    """A Typer app whose commands explain themselves as above."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Register a command, as `typer.Typer.command` does."""
        return super().command(name, **{"cls": _Command, **options})


class Group(TyperGroup):
    """A group of commands; the root's stand under headings."""

    def get_params(self, ctx: Any) -> list[Any]:
        """List the options, without those that install something."""
        return [each for each in super().get_params(ctx) if each.name not in _INSTALLERS]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each command, wrapped and never cut."""
        lines = {
            name: command.get_short_help_str(_LONGEST)
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) and not command.hidden
        }
        for heading, names in _sections(lines, is_root=ctx.parent is None).items():
            with formatter.section(heading):
                formatter.write_dl([(name, lines[name]) for name in names])


class _Command(TyperCommand):
    """A command whose arguments are named without Python's types."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = _no_type  # type: ignore[attr-defined]


def _no_type(**_ctx: Any) -> str:
    return ""


def _sections(lines: Mapping[str, str], *, is_root: bool) -> Mapping[str, Sequence[str]]:
    if not is_root:
        return {"Commands": list(lines)}
    found = {
        heading: [name for name in names if name in lines] for heading, names in SECTIONS.items()
    }
    rest = [name for name in lines if not any(name in names for names in found.values())]
    return {heading: names for heading, names in {**found, "More": rest}.items() if names}
