"""`flowops run`: stay, and follow inputs as they grow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowops.cli.options import AsJson, Project, Verbose


def command(
    project: Project = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes on this machine.")] = 1,
    hosts: Annotated[
        str | None,
        typer.Option(
            envvar="FLOWOPS_HOSTS",
            metavar="NAME:PORT,...",
            help="Where the processes are that run on several machines, one on each.",
        ),
    ] = None,
    process: Annotated[
        int | None,
        typer.Option(
            envvar="FLOWOPS_PROCESS",
            min=0,
            help="Which of --hosts this is, from 0; left out: the number at the end of this machine's name.",
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            envvar="FLOWOPS_LISTEN",
            metavar="NAME:PORT",
            help="Answer /healthz, /readyz and /metrics there, for example on 127.0.0.1:9464.",
        ),
    ] = None,
    restarts: Annotated[
        int, typer.Option(min=0, help="How often workers that died are started again within 10 minutes.")
    ] = 10,
    stalled: Annotated[
        float,
        typer.Option(min=0.5, metavar="SECONDS", help="Without the end of an epoch for so long, /healthz says 503."),
    ] = 60.0,
    epoch: Annotated[
        float | None, typer.Option(min=0.05, metavar="SECONDS", help="How often state is saved; 1 s if left out.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew: remove this run's state, outcomes and file-channel output.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run the plans on inputs that grow, until stopped (Ctrl-C or SIGTERM); started again it goes on where it was.

    Workers that die are started again. What happens is told on standard error, a line each.
    """
    from flowops.cli.engine import execute_and_print
    from flowops.cli.hosts import cluster_of
    from flowops.streaming.settings import Watch

    addresses, number = cluster_of(hosts, process, processes, fresh=fresh)

    execute_and_print(
        Path.cwd() if project is None else project,
        mode="run",
        until=None,
        processes=processes,
        epoch=epoch,
        fresh=fresh,
        as_json=as_json,
        hosts=addresses,
        process=number,
        watch=Watch(listen, restarts, stalled, verbose),
    )
