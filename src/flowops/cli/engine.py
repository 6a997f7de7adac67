"""What `replay` and `run` share: settings from options, the progress bar, the summary."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import orjson
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from flowops.cli.plans import moment_of
from flowops.core.time import Zone, isoformat
from flowops.rules.load import find_project
from flowops.settings.counted import counted
from flowops.streaming.engine import Ended, execute
from flowops.streaming.failures import own_streams
from flowops.streaming.job import Job, load_job
from flowops.streaming.progress import Progress
from flowops.streaming.settings import Settings, Watch
from flowops.warehouse.outcomes import connect, published
from flowops.warehouse.summary import Summary, summary


def execute_and_print(
    start: Path,
    *,
    mode: Literal["replay", "run"],
    until: str | None,
    processes: int,
    epoch: float | None,
    fresh: bool,
    as_json: bool,
    hosts: tuple[str, ...] = (),
    process: int = 0,
    watch: Watch | None = None,
) -> None:
    """Run the engine on the project at or above `start`, showing how it goes and what came of it."""
    folder = find_project(start)
    job = load_job(folder)
    settings = Settings(
        folder,
        mode,
        None if until is None else moment_of(until, job.project.zone),
        processes,
        None if epoch is None else timedelta(seconds=epoch),
        hosts,
        process,
    )
    console = Console(stderr=True)
    with own_streams(print_to_stderr=as_json):
        if as_json or settings.follow or not console.is_terminal:
            ended = execute(job, settings, fresh=fresh, watch=watch)
        else:
            ended = _with_bar(console, job, settings, fresh=fresh)
    if as_json:
        sys.stdout.write(orjson.dumps(_summary(job, ended), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _print(job, ended, mode)


def _with_bar(console: Console, job: Job, settings: Settings, *, fresh: bool) -> Ended:
    """Run, with a bar that moves while records are read: how many there are to come, no compressed file tells."""
    with Bar(BarColumn(bar_width=8), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        zone = job.project.zone

        def show(progress: Progress) -> None:
            bar.update(task, description=_line(progress, zone))

        return execute(job, settings, fresh=fresh, on_progress=show)


def _line(progress: Progress, zone: Zone) -> str:
    reached = "..." if progress.event_time is None else zone.minute(progress.event_time)
    return (
        f"{counted(progress.read, 'record')}, {progress.rate:,.0f}/s, at {reached}, {progress.dispatched:,} dispatched"
    )


def _summary(job: Job, ended: Ended) -> dict[str, Any]:
    progress = ended.progress
    totals = _sums(job)
    return {
        "status": ended.status,
        "resumed": ended.resumed,
        "records": progress.read,
        "seconds": round(progress.seconds, 3),
        "records_per_second": round(progress.rate),
        "event_time": None if progress.event_time is None else isoformat(progress.event_time),
        "live_users": progress.live_users,
        "snapshot_seconds": round(progress.snapshot_seconds, 3),
        "warehouse": str(job.config.warehouse / "outcomes.duckdb"),
        "totals": None if totals is None else totals._asdict(),
    }


def _print(job: Job, ended: Ended, mode: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    progress = ended.progress
    if ended.status == "already finished":
        console.print("This replay has already finished; nothing was done. Begin anew with `flowops replay --fresh`.")
    else:
        resumed = " (went on where it was)" if ended.resumed else ""
        until = "" if progress.event_time is None else f", up to {job.project.zone.minute(progress.event_time)}"
        console.print(
            f"{'Stopped' if ended.status == 'stopped' else 'Done'}{resumed}: read {counted(progress.read, 'record')} in"
            f" {progress.seconds:.1f} s ({progress.rate:,.0f}/s){until}."
        )
    found = _sums(job)
    if found is None:
        console.print("No outcomes are published yet.")
    else:
        console.print(
            f"{counted(found.triggers, 'trigger')}, {counted(found.dispatches, 'message')} dispatched,"
            f" {found.losses:,} lost, {found.pending:,} pending; {counted(found.late, 'late record')},"
            f" {counted(found.dead_letters, 'dead letter')}."
        )
        console.print(f"Outcomes: {job.config.warehouse / 'outcomes.duckdb'}")
    if ended.status == "stopped":
        console.print(f"The same command goes on from here: flowops {mode}")
    else:
        console.print("See them with `flowops report`.")


def _sums(job: Job) -> Summary | None:
    """None where nothing is published: of several hosts, only one writes, perhaps later."""
    if not published(job.config.warehouse):
        return None
    with connect(job.config.warehouse) as connection:
        return summary(connection)
