"""The command line. Heavy modules are imported by the commands that need them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mwl.cli import (
    associations,
    check,
    commit,
    completion,
    demo,
    device,
    frame,
    hl7,
    messages,
    mpps,
    outbox,
    patient,
    report,
    serve,
    story,
    study,
    token,
    user,
    verify,
    worklist,
)

_ROOT_HELP = """The bridge between a RIS and its scanners.

HL7 v2 orders come in, a DICOM Modality Worklist goes out; scanners tell what they do and
send their images, and the order closes. `mwl serve` runs it, `mwl check` says what is
wrong, `mwl demo` plays it, and the rest looks and helps while it runs.

Settings come from --config FILE, else MWL_CONFIG, else the shipped config/mwl.toml; a
variable MWL_SECTION__KEY overrides one of them. Exit codes: 0 done, 1 it could not be done,
2 asked wrongly or a wrong setting.
"""

_ROOT_EXAMPLES = """\b
Examples:
  mwl serve                                   all of it, on this machine alone
  mwl demo                                    an order from begin to end
  mwl hl7 send order.hl7                      what your RIS would send
  mwl worklist list --accession ACC-1001      where an order stands
  MWL_DICOM__PORT=104 mwl serve --config mwl.toml
"""

app = frame.app(_ROOT_HELP, _ROOT_EXAMPLES)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"mwl-bridge {version('mwl-bridge')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The settings; may stand anywhere.")
    ] = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_tell_version, help="Tell the version and end."
        ),
    ] = False,
) -> None:
    context.obj = config


app.command()(serve.serve)
app.command()(check.check)
app.command(epilog=demo.EXAMPLES)(demo.demo)
app.command(epilog=completion.EXAMPLES)(completion.completion)
app.command()(verify.verify)
app.command()(story.story)
app.add_typer(worklist.app, name="worklist")
app.add_typer(messages.app, name="messages")
app.add_typer(hl7.app, name="hl7")
app.add_typer(mpps.app, name="mpps")
app.add_typer(patient.app, name="patient")
app.add_typer(report.app, name="report")
app.add_typer(outbox.app, name="outbox")
app.add_typer(commit.app, name="commit")
app.add_typer(device.app, name="device")
app.add_typer(study.app, name="study")
app.add_typer(associations.app, name="associations")
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")


def main() -> None:
    """Run the command `mwl`."""
    arguments = _config_first(sys.argv[1:])
    frame.run(lambda: app(args=arguments, prog_name="mwl"))


def _config_first(arguments: list[str]) -> list[str]:
    """Let --config stand behind the command too, where people write it."""
    for i, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == "--config":
            return [*arguments[i : i + 2], *arguments[:i], *arguments[i + 2 :]]
        if argument.startswith("--config="):
            return [argument, *arguments[:i], *arguments[i + 1 :]]
    return arguments
