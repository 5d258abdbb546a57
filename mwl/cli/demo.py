"""`mwl demo`: play a RIS and scanners against the running server."""

from typing import TYPE_CHECKING, Annotated

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from mwl.config import Settings
    from mwl.demo.stage import Stage

EXAMPLES = """\b
Examples:
  mwl demo              one CT of the head, each step with its time
  mwl demo --count 5    five of them
  mwl demo --day        60 orders and all that can happen to them
"""


def demo(
    context: typer.Context,
    day: Annotated[
        bool,
        typer.Option("--day", help="A department's day: 60 orders, and what goes wrong in one."),
    ] = False,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, max=999, help="Play so many examinations.")
    ] = 1,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=frame.LARGEST_ID,
            help="With --day: the same number, the same day.",
        ),
    ] = 1,
    yes_really: Annotated[
        bool,
        typer.Option("--yes-really", help="Play on a server that is not on loopback alone."),
    ] = False,
) -> None:
    """Play a RIS and a CT against the running server, from the order to its end.

    The RIS sends an order; the CT finds it on its worklist, begins, sends 24 slices of a
    phantom, completes, has them committed, and the order closes. All of it over real
    sockets, with test patients, and new each time.
    """
    given = frame.settings(context)
    _refuse_where_patients_are(given, yes_really)
    _quieten()
    from mwl.demo import safety
    from mwl.demo.stage import Stage

    safety.check_served(given)
    with frame.database(given) as database:
        stage = Stage(given, database, typer.echo, frame.actor())
        try:
            if day:
                _play_day(stage, seed)
            else:
                _play_examinations(stage, count)
        finally:
            stage.ris.close()


def _refuse_where_patients_are(given: "Settings", yes_really: bool) -> None:
    from mwl.demo import safety

    found = list(safety.dangers(given))
    if found and not yes_really:
        frame.refuse(f"demo: {'; '.join(found)}. Not here, unless you say --yes-really")


def _play_examinations(stage: "Stage", count: int) -> None:
    from mwl.demo import examination

    dicom, hl7 = stage.settings.dicom, stage.settings.hl7
    typer.echo(
        f"A CT examination: DEMO-RIS to HL7 {hl7.host}:{hl7.port}, "
        f"{examination.CT} to DICOM {dicom.host}:{dicom.port}\n"
    )
    played = []
    for number in range(1, count + 1):
        played.append(examination.play(stage, number))
        typer.echo()
    for found in played:
        typer.echo(f"The order  {stage.page(f'/orders/{found.order}')}")
        typer.echo(f"The study  {stage.page(f'/studies/{found.study}')}")


def _play_day(stage: "Stage", seed: int) -> None:
    from mwl.demo import day

    day.play(stage, seed)


def _quieten() -> None:
    """Keep the libraries' own words from a person: what is wrong is said in ours."""
    import logging
    import warnings

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
