"""`flowops backtest`: what plans would have done on history."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowops.cli.options import AsJson, Inputs, Project, Until, Verbose
from flowops.errors import ConfigError
from flowops.settings.counted import counted

if TYPE_CHECKING:
    from flowops.lab.backtest import Backtest, Goal, Result
    from flowops.lab.rates import Rate

FEW_DAYS = 14
"""So many days are listed without -v."""


def command(
    plans: Annotated[
        list[str] | None, typer.Argument(metavar="[PLAN]...", help="Left out: all.", show_default=False)
    ] = None,
    inputs: Inputs = None,
    until: Until = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots, which needs nothing else.")
    ] = None,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Say what plans would have done on history: triggered, each loss, dispatched, goals and cost; sends nothing.

    The plans run together, on the engine itself; every message counts as delivered. With -v all days are listed.
    """
    from flowops.cli.plans import compiled_plans, moment_of
    from flowops.lab.backtest import backtest

    loaded, found = compiled_plans(project, plans or [])
    end = None if until is None else moment_of(until, found[0].zone)
    told = backtest(loaded, [plan.id for plan in found], inputs or [], end)
    if html is not None:
        from flowops.lab.page import page

        text = page(told, loaded.file.project if loaded.file else "", found[0].zone)
        try:
            html.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--html {html} cannot be written: {error.strerror or error}") from error
    if as_json:
        sys.stdout.write(json.dumps(_data(told), ensure_ascii=False, indent=2) + "\n")
    else:
        _print(told, verbose=verbose)


def _data(told: Backtest) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(told), "results": [data_of(result) for result in told.results]}


def data_of(result: Result) -> dict[str, Any]:
    """One plan's figures, for programs."""
    from dataclasses import asdict

    from flowops.core.time import isodate

    days = [{"day": isodate(day), "channel": channel, "dispatched": count} for day, channel, count in result.days]
    steps = [{"step": step, "channel": channel, "dispatched": count} for step, channel, count in result.steps]
    return {**asdict(result), "days": days, "steps": steps}


def _print(told: Backtest, *, verbose: bool) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    for result in told.results:
        console.print(f"{result.plan} {result.version}", style="italic")
        rows = _rows(result, told.currency, verbose=verbose)
        names, figures = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
        for name, figure, more in rows:
            console.print(escape(f"{name:<{names}}  {figure:>{figures}}  {more}".rstrip()), soft_wrap=True)
        console.print()
    console.print(read_of(told))
    if told.not_read:
        console.print(f"not read, being no files: {', '.join(told.not_read)}; a log of them is given by --input")


def read_of(told: Backtest) -> str:
    """How many records were read, and how many of them were late or could not be."""
    late = f", {told.late:,} late" if told.late else ""
    return counted(told.records, "record") + late + (f", {counted(told.bad, 'dead letter')}" if told.bad else "")


def _rows(result: Result, currency: str | None, *, verbose: bool) -> list[tuple[str, str, str]]:
    """(what, its figure, more about it)."""
    rows = [("triggered", f"{result.triggered:,}", "")]
    if result.steps:
        rows.append(("attempts", f"{result.attempts:,}", "a step on a channel each"))
    rows += [
        (f"  lost: {loss}", f"{count:,}", f"{count / result.attempts:.1%}") for loss, count in result.losses.items()
    ]
    rows += _dispatched(result, verbose=verbose)
    if result.pending:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in result.pending.items())
        rows.append(("still pending", f"{sum(result.pending.values()):,}", f"{kinds}; --until lets time go on"))
    if result.cost is not None:
        rows.append(("cost", f"{result.cost:,.2f}", currency or ""))
    for goal in result.goals:
        rows += _goal(goal, result, currency)
    return rows


def _dispatched(result: Result, *, verbose: bool) -> list[tuple[str, str, str]]:
    from flowops.core.time import isodate

    numbers = {day for day, _, _ in result.days}
    listed = verbose or len(numbers) <= FEW_DAYS
    channels: dict[str, int] = {}
    for _, channel, count in result.days:
        channels[channel] = channels.get(channel, 0) + count
    more = ", ".join(f"{channel} {count:,}" for channel, count in sorted(channels.items()))
    if numbers:
        more += f"; on {counted(len(numbers), 'day')}" + ("" if listed else ", which -v lists and --html draws")
    rows = [("dispatched", f"{result.dispatched:,}", more)]
    rows += [(f"  step {step} {channel}", f"{count:,}", "") for step, channel, count in result.steps]
    if listed:
        rows += [(f"  {isodate(day)} {channel}", f"{count:,}", "") for day, channel, count in result.days]
    return rows


def _goal(goal: Goal, result: Result, currency: str | None) -> list[tuple[str, str, str]]:
    from flowops.lab.page import HOW_TO_MEASURE

    name = f"goal {goal.goal}"
    if goal.receipt is not None:
        return [(name, "-", f"by the receipt {goal.receipt}, which no log tells of messages that nobody sent")]
    own = "nobody was reached"
    if goal.rate is not None:
        own = f"{_rate(goal.rate)} of {counted(result.sent_to, 'user and task', 'users and tasks')}"
    if goal.target is not None:
        own += f", target {100 * goal.target:g}%"
    rows = [(name, f"{goal.attained:,}", own)]
    if goal.natural is not None:
        rows.append(
            ("  anyway", f"{goal.held_out_attained:,}", f"{_rate(goal.natural)} of {result.held_out:,} held out")
        )
    elif result.holdout:
        rows.append(("  anyway", "-", "nobody was held out on this log"))
    else:
        rows.append(("  anyway", "-", f"the plan holds nobody out; `{HOW_TO_MEASURE}` in it measures a natural rate"))
    if goal.lift is not None:
        points = [f"{100 * value:+.1f}" for value in (goal.lift.value, goal.lift.low, goal.lift.high)]
        rows.append(("  lift", points[0], f"points ({points[1]} to {points[2]})"))
    if goal.value is not None:
        rows.append(("  worth", f"{goal.value:,.2f}", currency or ""))
    return rows


def _rate(rate: Rate) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
