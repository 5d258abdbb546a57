"""`mwl hl7 …`: talk HL7 to ourselves or to another receiver."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from hl7 import client

app = frame.app("Send HL7 messages over MLLP, and explain what they would do.")

_STDIN = "-"


@app.callback()
def _group() -> None:
    """Send HL7 messages over MLLP, and explain what they would do."""


@app.command()
def send(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of HL7 v2 messages.")],
    to: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The receiver; without it, our own.")
    ] = "",
    timeout_s: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, max=3600, help="How long to wait for each answer."
        ),
    ] = 30.0,
    tls: Annotated[
        bool, typer.Option("--tls", help="Over TLS, with the files of [hl7.tls].")
    ] = False,
    certificate: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="The receiver's certificate: sha256: and its fingerprint, or a name in it; "
            "without it, one of HOST.",
        ),
    ] = "",
) -> None:
    """Send each message and print what the receiver answers.

    A file may hold one message or several, or batches of them, with CR, LF or CRLF between
    segments, framed or not; they are sent one by one. The exit code is 1 unless every answer
    is AA, or CA where that is what the message asks for.
    """
    from hl7 import client

    tls = tls or bool(certificate)
    host, port = _receiver(context, to, tls)
    verifier = _verifier(context, certificate) if tls else None
    messages = [(file, message) for file in files for message in _read(file)]
    sent = (message for _, message in messages)
    answers = client.send(host, port, sent, timeout_s, verifier)
    refused = 0
    for (file, _), ack in zip(messages, answers, strict=True):
        refused += not ack.accepted
        said = (ack.code or "--", ack.control_id, str(file), *_faults(ack))
        typer.echo("  ".join(filter(None, said)))
    if refused:
        raise typer.Exit(frame.FAILED)


@app.command()
def explain(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A file of HL7 v2 messages; - for standard input."),
    ],
    profile: Annotated[
        str,
        typer.Option(
            metavar="PROFILE",
            help="The mapping profile, by name or file; without it, the one of the sender.",
        ),
    ] = "",
    listener: Annotated[
        str, typer.Option(metavar="NAME", help="As if it came in on this [[hl7.listener]].")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message.")] = False,
) -> None:
    """Explain each message: what its fields become, what is missing, what would change.

    It changes nothing, and answers nobody. Before there is a database it tells all but what
    would change. A file is what `mwl hl7 send` takes. The exit code is 1 unless every answer
    would be AA.
    """
    from mwl.cli import explaining
    from mwl.roles.explaining import explainer

    given = frame.settings(context)
    known = {each.name for each in given.hl7.listener}
    if listener and listener not in known:
        frame.refuse(f"--listener {listener}: there is no such [[hl7.listener]]")
    messages = _read(file)
    refused = 0
    with frame.database_if_there(given) as database:
        tell = explainer(given, database, profile)
        for number, raw in enumerate(messages, 1):
            told = tell(raw, frame.now(), listener)
            refused += told.ack_code != "AA"
            if as_json:
                typer.echo(json.dumps(told.as_dict(), ensure_ascii=False, default=str))
                continue
            if number > 1:
                typer.echo("")
            for line in explaining.lines(told, number, len(messages)):
                typer.echo(line)
    if refused:
        raise typer.Exit(frame.FAILED)


@app.command()
def profiles(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="[PROFILE]", help="Print this one whole, with what it extends."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a profile.")] = False,
) -> None:
    """List the mapping profiles that there are, and whose messages each reads.

    The folder hl7.profiles is looked in first, then the profiles that come with the program.
    One that is named is checked, and printed as a single file would say it.
    """
    from mwl.cli import profiles as known

    given = frame.settings(context)
    if name:
        tables = known.resolved(given, name)
        lines = [json.dumps(tables, default=float)] if as_json else known.toml(tables)
        for line in lines:
            typer.echo(line)
        return
    found = known.listed(given)
    if as_json:
        for row in found:
            typer.echo(json.dumps(row))
    else:
        frame.print_table(known.COLUMNS, found)


def _faults(ack: "client.Ack") -> list[str]:
    """Say what each ERR says: the place as the receiver writes it, and the text for a person."""
    found = [(str(err.whole(2) or ""), str(err.whole(8) or "")) for err in ack.message.all("ERR")]
    return [": ".join(filter(None, each)) for each in found if each[1]] or [ack.text]


def _verifier(context: typer.Context, certificate: str) -> "client.Tls":
    from mwl.roles.secured import hl7_keys_of
    from mwl.tls import check_rule

    try:
        rule = check_rule(certificate)
    except ValueError as error:
        frame.refuse(f"--certificate {certificate}: {error}")
    keys = hl7_keys_of(frame.settings(context))
    return lambda: keys.verifier(rule)


def _receiver(context: typer.Context, to: str, tls: bool) -> tuple[str, int]:
    given = frame.settings(context).hl7
    if not to:
        if tls and not given.tls.port:
            frame.refuse(
                "--tls: we listen on no port over TLS (hl7.tls.port): write --to HOST:PORT"
            )
        # What listens on every address is reached on this machine's own.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(given.host, given.host)  # noqa: S104
        return host, given.tls.port if tls else given.port
    host, colon, port = to.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        frame.refuse(f"--to {to}: write HOST:PORT, as in 127.0.0.1:2575")
    return host.strip("[]"), int(port)


def _read(file: Path) -> list[bytes]:
    from hl7 import explain, mllp

    try:
        content = sys.stdin.buffer.read() if str(file) == _STDIN else file.read_bytes()
    except OSError as error:
        frame.refuse(f"{file}: can't be read: {error.strerror}")
    try:
        messages = explain.split(content)
    except mllp.FrameError as error:
        frame.refuse(f"{file}: {error}")
    if not messages:
        frame.refuse(f"{file}: holds no HL7 message (one starts with MSH)")
    return messages
