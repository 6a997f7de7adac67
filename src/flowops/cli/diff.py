"""`flowops diff`: what a change of rules would change."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowops.cli.options import AsJson, Inputs, Project, Until, Verbose
from flowops.settings.counted import counted

if TYPE_CHECKING:
    from flowops.core.records import Micros
    from flowops.lab.backtest import Goal, Result
    from flowops.lab.diff import Diff, Example, Fate, Kind, PlanDiff

    Show = Callable[[Micros], str]

_TITLES: dict[Kind, str] = {
    "gained": "gained",
    "lost": "lost",
    "instead": "for another occasion than before",
    "moved": "at another time",
    "changed": "with another channel or content",
    "reason": "not sent, for another reason",
}


def command(
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD", help="A plan file, a project's folder, or a revision of git.", show_default=False
        ),
    ],
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="[NEW]", help="A plan file, or a project's folder; left out: what lies here.", show_default=False
        ),
    ] = None,
    plans: Annotated[
        list[str] | None, typer.Option("--plan", metavar="PLAN", help="Run these alone; left out: all. Repeatable.")
    ] = None,
    inputs: Inputs = None,
    until: Until = None,
    examples: Annotated[int, typer.Option(min=0, metavar="N", help="Show so many of each change.")] = 3,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Say what a change of rules changes: both versions run on the same log, as `backtest` does; sends nothing.

    Of each plan: the figures before and after, and who gets a message more, less, at another time or another one, with
    examples and the reasons. `flowops diff HEAD` compares what lies here with what git has.
    """
    from flowops.cli.plans import moment_of
    from flowops.core.time import Zone
    from flowops.errors import ConfigError
    from flowops.lab.diff import diff
    from flowops.lab.versions import versions
    from flowops.rules.preview import shower
    from flowops.settings.guess import one_of

    both = versions(old, new, project)
    known = sorted({each.file.plan for version in (both.old, both.new) for each in version.plans})
    for plan in plans or []:
        if plan not in known:
            raise ConfigError(f"there is no plan `{plan}`\n  try: {one_of(plan, known)}")
    zone = Zone(both.new.file.zone if both.new.file is not None else "UTC")
    show = shower(zone)
    told = diff(both, plans or [], inputs or [], None if until is None else moment_of(until, zone), examples)
    if as_json:
        answer = _data(told, lambda at: show(at, "time").replace(" ", "T"))
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(told, lambda at: show(at, "time")[:19].removesuffix(":00"))) + "\n")


def _data(told: Diff, time: Show) -> dict[str, Any]:
    from flowops.cli.backtest import data_of

    def fate(each: Fate | None) -> dict[str, Any] | None:
        if each is None:
            return None
        content = None if each.content is None else json.loads(each.content)
        return {**each._asdict(), "at": time(each.at), "content": content}

    def example(each: Example) -> dict[str, Any]:
        return {
            **each.occasion._asdict(),
            "before": fate(each.before),
            "after": fate(each.after),
            "instead": None if each.instead is None else each.instead._asdict(),
            "why": each.why,
        }

    def plan(each: PlanDiff) -> dict[str, Any]:
        return {
            "plan": each.plan,
            "differs": each.differs,
            "before": None if each.before is None else data_of(each.before),
            "after": None if each.after is None else data_of(each.after),
            "users_gained": each.users_gained,
            "users_lost": each.users_lost,
            "same": each.same,
            "changes": {
                kind: {
                    "messages": change.messages,
                    "users": change.users,
                    "examples": [example(one) for one in change.examples],
                }
                for kind, change in each.changes.items()
            },
        }

    return {
        "plans": [plan(each) for each in told.plans],
        "records": told.after.records,
        "late": told.after.late,
        "bad": told.after.bad,
        "not_read": told.after.not_read,
    }


def _lines(told: Diff, time: Show) -> Iterator[str]:
    from flowops.cli.backtest import read_of

    for each in told.plans:
        was, now = each.before, each.after
        if was is None or now is None:
            result = was or now
            found = "" if result is None else f", {result.triggered:,} triggered, {result.dispatched:,} dispatched"
            yield f"{each.plan}: only {'after' if was is None else 'before'}{found}"
        elif not each.differs:
            version = was.version if was.version == now.version else f"{was.version} -> {now.version}"
            yield f"{each.plan} {version}: does the same ({now.triggered:,} triggered, {now.dispatched:,} dispatched)"
            continue
        else:
            named = each.plan if was.plan == now.plan else f"{was.plan} -> {now.plan}"
            yield f"{named} {was.version} -> {now.version}"
            yield from _figures(was, now)
        yield from _messages(each, time)
        yield ""
    yield read_of(told.after)
    if told.after.not_read:
        yield f"not read, being no files: {', '.join(told.after.not_read)}; a log of them is given by --input"


def _figures(was: Result, now: Result) -> Iterator[str]:
    """Before and after, side by side."""
    rows: list[tuple[str, str, str, str]] = [("", "before", "after", "")]

    def row(name: str, first: float | None, second: float | None, form: str = ",", unit: float = 1) -> None:
        sign = "%" if unit > 1 else ""
        texts = ["-" if each is None else f"{unit * each:{form}}{sign}" for each in (first, second)]
        change = "" if first is None or second is None else f"{unit * (second - first):+{form}}"
        same = first is None or second is None or first == second
        rows.append((name, texts[0], texts[1], "" if same else change + (" points" if unit > 1 else "")))

    row("triggered", was.triggered, now.triggered)
    for loss in dict.fromkeys((*was.losses, *now.losses)):
        row(f"  lost: {loss}", was.losses.get(loss, 0), now.losses.get(loss, 0))
    row("dispatched", was.dispatched, now.dispatched)
    if was.pending or now.pending:
        row("still pending", sum(was.pending.values()), sum(now.pending.values()))
    if was.cost is not None or now.cost is not None:
        row("cost", was.cost, now.cost, ",.2f")
    firsts, seconds = ({goal.goal: goal for goal in each.goals} for each in (was, now))
    for name in dict.fromkeys((*firsts, *seconds)):
        first, second = firsts.get(name), seconds.get(name)
        row(f"goal {name}", _of(first, "attained"), _of(second, "attained"))
        row("  of users and tasks", _rate(first, "rate"), _rate(second, "rate"), ".1f", 100)
        if was.held_out or now.held_out:
            row("  anyway, held out", _rate(first, "natural"), _rate(second, "natural"), ".1f", 100)
        if _of(first, "value") is not None or _of(second, "value") is not None:
            row("  worth", _of(first, "value"), _of(second, "value"), ",.2f")
    widths = [max(len(each[place]) for each in rows) for place in range(4)]
    for name, before, after, change in rows:
        text = f"  {name:<{widths[0]}}  {before:>{widths[1]}}  {after:>{widths[2]}}  {change:>{widths[3]}}"
        yield text.rstrip()


def _of(goal: Goal | None, name: str) -> float | None:
    return None if goal is None else getattr(goal, name)


def _rate(goal: Goal | None, name: str) -> float | None:
    rate = None if goal is None else getattr(goal, name)
    return None if rate is None else rate.value


def _messages(each: PlanDiff, time: Show) -> Iterator[str]:
    gained, same = counted(each.users_gained, "user"), counted(each.same, "message")
    yield f"  {gained} gained, {each.users_lost:,} lost; {same} the same"
    for kind, change in each.changes.items():
        yield f"  {_TITLES[kind]}: {change.messages:,}, of {counted(change.users, 'user')}"
        for example in change.examples:
            key = "" if example.occasion.key is None else f", key {example.occasion.key}"
            yield f"    {example.occasion.user}{key} ({', '.join(example.occasion.evidence)})"
            yield f"      before  {_told(example.before, example.why, time)}"
            other = "" if example.instead is None else f" ({', '.join(example.instead.evidence)})"
            yield f"      after   {_told(example.after, example.why, time)}{other}"


def _told(fate: Fate | None, why: str | None, time: Show) -> str:
    if fate is None:
        return "no trigger" + (f": {why}" if why else "")
    if fate.content is None:
        detail = f", {fate.detail}" if fate.detail else ""
        lost = "held back" if fate.stage == "held" else f"lost: {fate.stage}"
        return f"{time(fate.at)}  {lost}{detail}"
    shown = ", ".join(
        f"{name} {json.dumps(text, ensure_ascii=False)}" for name, text in json.loads(fate.content).items()
    )
    variant = f" ({fate.variant})" if fate.variant else ""
    return f"{time(fate.at)}  on {fate.channel}{variant}: {shown}"
