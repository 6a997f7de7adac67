"""`flowops run`: stay, and follow inputs as they grow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowops.cli.options import AsJson, Project, Verbose


def command(
    project: Project = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes on this machine.")] = 1,
    epoch: Annotated[
        float | None, typer.Option(min=0.05, metavar="SECONDS", help="How often state is saved; 1 s if left out.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew: remove this run's state, outcomes and file-channel output.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Run the plans on inputs that grow, until stopped (Ctrl-C or SIGTERM); started again it goes on where it was."""
    from flowops.cli.engine import execute_and_print

    execute_and_print(
        Path.cwd() if project is None else project,
        mode="run",
        until=None,
        processes=processes,
        epoch=epoch,
        fresh=fresh,
        as_json=as_json,
    )
