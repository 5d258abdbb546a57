"""`mwl completion`: the script by which a shell completes our commands."""

from typing import Annotated

import typer

from mwl.cli import frame

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """\b
Examples:
  mwl completion bash > ~/.local/share/bash-completion/completions/mwl
  mwl completion zsh > ~/.zfunc/_mwl       with ~/.zfunc in fpath
  mwl completion fish > ~/.config/fish/completions/mwl.fish
"""


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script that lets a shell complete commands and options of mwl.

    Nothing is installed: put it where your shell looks for such scripts, then open a new
    terminal.
    """
    if shell not in SHELLS:
        frame.refuse(f"completion {shell}: no such shell here; there are {', '.join(SHELLS)}")
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    # The script asks `mwl` with this variable set, and Typer answers instead of running it.
    script = get_completion_script(prog_name="mwl", complete_var="_MWL_COMPLETE", shell=shell)
    typer.echo(script)
