"""`flowops replay`: read bounded inputs to their end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowops.cli.options import AsJson, Project, Verbose


def command(
    project: Project = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Move time on to this local time (2022-04-30 or 2022-04-30T12:00) after the end of input.",
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes on this machine.")] = 1,
    epoch: Annotated[
        float | None, typer.Option(min=0.05, metavar="SECONDS", help="How often state is saved; 10 s if left out.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew: remove this run's state, outcomes and file-channel output.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Run the plans over the inputs to their end; an interrupted replay goes on where it was.

    Messages go to file and console channels only. What still waits when the input ends stays pending.
    """
    from flowops.cli.engine import execute_and_print

    execute_and_print(
        Path.cwd() if project is None else project,
        mode="replay",
        until=until,
        processes=processes,
        epoch=epoch,
        fresh=fresh,
        as_json=as_json,
    )
