"""`flowops backtest`: what plans would have done on history."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowops.cli.options import AsJson, Inputs, Project, Until, Verbose

if TYPE_CHECKING:
    from flowops.lab.backtest import Backtest, Goal, Result


def command(
    plans: Annotated[
        list[str] | None, typer.Argument(metavar="[PLAN]...", help="Left out: all.", show_default=False)
    ] = None,
    inputs: Inputs = None,
    until: Until = None,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Say what plans would have done on history: triggered, each loss, dispatched, goals and cost; sends nothing.

    The plans run together, on the engine itself; every message counts as delivered. With -v by day, too.
    """
    from flowops.cli.plans import compiled_plans, moment_of
    from flowops.lab.backtest import backtest

    loaded, found = compiled_plans(project, plans or [])
    end = None if until is None else moment_of(until, found[0].zone)
    told = backtest(loaded, [plan.id for plan in found], inputs or [], end)
    if as_json:
        sys.stdout.write(json.dumps(_data(told), ensure_ascii=False, indent=2) + "\n")
    else:
        _print(told, verbose=verbose)


def _data(told: Backtest) -> dict[str, Any]:
    from dataclasses import asdict

    from flowops.core.time import isodate

    answer = asdict(told)
    for result in answer["results"]:
        result["days"] = [
            {"day": isodate(day), "channel": channel, "dispatched": count} for day, channel, count in result["days"]
        ]
    return answer


def _print(told: Backtest, *, verbose: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for result in told.results:
        table = Table(title=f"{result.plan} {result.version}", title_justify="left", box=None, show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        for row in _rows(result):
            table.add_row(*row)
        if verbose:
            from flowops.core.time import isodate

            for day, channel, count in result.days:
                table.add_row(f"  {isodate(day)} {channel}", f"{count:,}", "")
        console.print(table)
    notes = f"{told.records:,} records"
    notes += "".join(
        f", {count:,} {what}" for count, what in ((told.late, "late"), (told.bad, "dead letters")) if count
    )
    console.print(notes)
    if told.not_read:
        console.print(f"not read, being no files: {', '.join(told.not_read)}; a log of them is given by --input")


def _rows(result: Result) -> list[tuple[str, str, str]]:
    rows = [("triggered", f"{result.triggered:,}", "")]
    rows += [(f"  lost: {loss}", f"{count:,}", "") for loss, count in result.losses.items()]
    per_day = f"{result.dispatched / len(result.days):,.1f} a day with any" if result.days else ""
    rows.append(("dispatched", f"{result.dispatched:,}", per_day))
    if result.pending:
        rows.append(("still pending", f"{result.pending:,}", "--until lets time go on"))
    if result.cost is not None:
        rows.append(("cost", f"{result.cost:,.2f}", ""))
    rows += [(f"goal {goal.goal}", f"{goal.attained:,}", _rates(goal, result)) for goal in result.goals]
    return rows


def _rates(goal: Goal, result: Result) -> str:
    said = []
    if result.sent_to:
        said.append(f"{goal.attained / result.sent_to:.1%} of {result.sent_to:,} users and days")
    if result.held_out:
        said.append(f"anyway {goal.held_out_attained / result.held_out:.1%} of {result.held_out:,} held out")
    if goal.target is not None:
        said.append(f"target {goal.target:.0%}")
    if goal.value is not None:
        said.append(f"worth {goal.value:,.2f}")
    return ", ".join(said)
