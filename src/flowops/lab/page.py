"""A backtest as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, tostring

from flowops.core.records import Micros
from flowops.core.time import Zone, isodate
from flowops.lab.backtest import Backtest, Goal, Result
from flowops.lab.figures import SERIES, Bar, Child, Dot, days, days_in_a_bar, el, funnel, shares
from flowops.lab.rates import Rate
from flowops.rules.preview import shower
from flowops.settings.counted import counted

HOW_TO_MEASURE = "experiment: {name: NAME, holdout: 10%}"
"""What a plan says to have a natural rate."""

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --card: #f6f8fa;
  --all: #8c959f; --left: #1a7f4b; --lost: #c0504d; --s0: #2563c9; --s1: #b5530b; --s2: #1a7f4b; --s3: #7a48c2;
  --s4: #0f7d8c; --s5: #a8326b }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e8eaed; --soft: #a0a8b3; --line: #343b44;
  --card: #1d2127; --all: #7d8590; --left: #4cc38a; --lost: #e5857f; --s0: #6ea3ff; --s1: #f2a65a; --s2: #4cc38a;
  --s3: #b79cf5; --s4: #4fc3d4; --s5: #f08cb8 } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid var(--line);
  padding-top: 1.5rem } h3 { font-size: 1rem; margin: 1.5rem 0 .5rem } a { color: var(--s0) }
p.note, caption, dt, small { color: var(--soft) } code { background: var(--card); padding: .1em .3em }
table { border-collapse: collapse; width: 100% } th, td { padding: .3rem .6rem; text-align: right;
  white-space: nowrap; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left } .scroll td:last-child { white-space: normal }
.scroll, .figure { overflow-x: auto } .figure svg { width: 100%; min-width: 34rem; display: block }
dl { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 } dl div { background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: .5rem 1rem } dd { margin: 0; font-size: 1.35rem;
  font-variant-numeric: tabular-nums } ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 1rem;
  padding: 0 } ul.legend span { display: inline-block; width: .8em; height: .8em; margin-right: .4em }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif } svg .tick { fill: var(--soft); font-size: 11px }
svg .figure { font-variant-numeric: tabular-nums } svg .grid { stroke: var(--line) }
svg .target { stroke: var(--ink); stroke-dasharray: 5 4 }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(told: Backtest, project: str, zone: Zone) -> str:
    """The file's text. Times are in `zone`."""
    title = f"Backtest of {project}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        el("style", _STYLE),
    )
    body = el("body", el("h1", title), *_head(told, zone), _overview(told), *_notes(told))
    for number, result in enumerate(told.results):
        body.append(el("section", *_plan(result, told.currency), id=f"plan-{number}"))
    return "<!DOCTYPE html>\n" + tostring(el("html", head, body, lang="en"), encoding="unicode", method="html") + "\n"


def _head(told: Backtest, zone: Zone) -> Iterator[Element]:
    text = counted(told.records, "record")
    if told.begins is not None and told.ends is not None:
        text += f", {_moment(zone, told.begins)} to {_moment(zone, told.ends)}, {zone.name}"
    text += f", {told.late:,} late" if told.late else ""
    text += f", {counted(told.bad, 'dead letter')}" if told.bad else ""
    yield el("p", text)


def _notes(told: Backtest) -> Iterator[Element]:
    yield el(
        "p",
        "The plans ran together on this log, on the engine itself; nothing was sent. Every message counts as delivered "
        "at once. Users count once for each task of a plan. Intervals are of 95%. The log is of what happened: where "
        "nobody had got these messages, all came unasked, and a lift is chance.",
        class_="note",
    )
    if told.not_read:
        text = f"Not read, being no files: {', '.join(told.not_read)}. A log of them is given by --input."
        yield el("p", text, class_="note")


def _overview(told: Backtest) -> Element:
    def row(number: int, result: Result) -> Element:
        goals = ", ".join(f"{goal.goal} {_share(goal.rate)}" for goal in result.goals if goal.rate is not None)
        cells = (f"{result.triggered:,}", f"{sum(result.losses.values()):,}", f"{result.dispatched:,}")
        money = (_money(result.cost, told.currency), _money(_worth(result), told.currency))
        link = el("a", result.plan, href=f"#plan-{number}")
        return el("tr", el("td", link), *(el("td", cell) for cell in (*cells, *money, goals or "-")))

    names = ("plan", "triggered", "lost", "dispatched", "cost", "value", "goals")
    rows = (row(number, result) for number, result in enumerate(told.results))
    table = el("table", el("thead", el("tr", *(el("th", name) for name in names))), el("tbody", *rows))
    return el("div", table, class_="scroll")


def _plan(result: Result, currency: str | None) -> Iterator[Element]:
    yield el("h2", f"{result.plan} ", el("small", result.version))
    yield _tiles(result, currency)
    yield el("h3", "From trigger to message")
    whole = "attempts" if result.steps else "triggered"
    bars = [Bar(whole, result.attempts, "all")]
    bars += [Bar(loss.replace("_", " "), count, "lost") for loss, count in result.losses.items()]
    yield funnel([*bars, Bar("dispatched", result.dispatched, "left")], f"{result.plan}: {whole}, lost, dispatched")
    if result.pending:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in result.pending.items())
        yield el("p", f"Pending when the log ended: {kinds}.", class_="note")
    yield from _daily(result)
    for goal in result.goals:
        yield from _goal(result, goal, currency)


def _tiles(result: Result, currency: str | None) -> Element:
    worth = _worth(result)
    tiles = [("triggered", f"{result.triggered:,}"), ("dispatched", f"{result.dispatched:,}")]
    tiles.append(("users and tasks reached", f"{result.sent_to:,}"))
    if result.held_out:
        tiles.append(("held out", f"{result.held_out:,}"))
    if result.cost is not None:
        tiles.append(("cost", _money(result.cost, currency)))
    if worth is not None:
        tiles.append(("value", _money(worth, currency)))
    if result.cost and worth is not None:
        tiles.append(("value for 1 of cost", f"{worth / result.cost:,.1f}"))
    return el("dl", *(el("div", el("dt", name), el("dd", figure)) for name, figure in tiles))


def _daily(result: Result) -> Iterator[Element]:
    if not result.days:
        return
    channels = sorted({channel for _, channel, _ in result.days})
    step = days_in_a_bar(result.days)
    yield el("h3", "Dispatched by day and channel" + ("" if step == 1 else f", {step} days to a bar"))
    sums = {channel: sum(count for _, of, count in result.days if of == channel) for channel in channels}
    yield el(
        "ul",
        *(
            el("li", el("span", style=f"background: var(--s{number % SERIES})"), f"{channel} {sums[channel]:,}")
            for number, channel in enumerate(channels)
        ),
        class_="legend",
    )
    yield days(result.days, channels, f"{result.plan}: dispatched by day and channel")
    rows = (el("tr", el("td", isodate(day)), el("td", of), el("td", f"{count:,}")) for day, of, count in result.days)
    names = el("thead", el("tr", *(el("th", name) for name in ("day", "channel", "dispatched"))))
    yield el("details", el("summary", "each day"), el("table", names, el("tbody", *rows)))


def _goal(result: Result, goal: Goal, currency: str | None) -> Iterator[Element]:
    yield el("h3", f"Goal: {goal.goal}")
    if goal.receipt is not None:
        yield el("p", f"Attained by the receipt {goal.receipt}, which no log tells of messages that nobody sent.")
        return
    dots = [
        Dot(label, share.value, share.low, share.high, _share(share))
        for label, share in (("with the message", goal.rate), ("anyway, held out", goal.natural))
        if share is not None
    ]
    if dots:
        about = f"{result.plan}: rate of {goal.goal}, with intervals"
        yield shares(dots, goal.target, about)
    yield from (el("p", text) for text in _sentences(result, goal, currency))
    if not result.holdout:
        yield el("p", *no_natural_rate(el("code", HOW_TO_MEASURE)), class_="note")


def no_natural_rate(how: Child) -> Sequence[Child]:
    """Said of a plan that holds nobody out."""
    return ("There is no natural rate beside it, since the plan holds nobody out; ", how, " in the plan measures it.")


def _sentences(result: Result, goal: Goal, currency: str | None) -> Iterator[str]:
    target = "" if goal.target is None else f" The target (dashed) is {100 * goal.target:g}%."
    if goal.rate is not None:
        yield f"{goal.attained:,} of {result.sent_to:,} attained it, {_between(goal.rate)}.{target}"
    else:
        yield f"Nobody was reached, so there is no rate.{target}"
    if goal.natural is not None:
        yield f"Of {result.held_out:,} held out {goal.held_out_attained:,} did so anyway, {_between(goal.natural)}."
    elif result.holdout and goal.rate is not None:
        yield "Nobody was held out on this log, so there is no natural rate beside it."
    if goal.lift is not None:
        yield f"The lift is {_points(goal.lift.value)} points, {_points(goal.lift.low)} to {_points(goal.lift.high)}."
    if goal.value is not None:
        anyway = f"; of those held out {_money(goal.held_out_value, currency)}" if result.held_out else ""
        yield f"Worth {_money(goal.value, currency)}{anyway}."


def _worth(result: Result) -> float | None:
    values = [goal.value for goal in result.goals if goal.value is not None]
    return sum(values) if values else None


def _moment(zone: Zone, at: Micros) -> str:
    return shower(zone)(at, "time")[:16]


def _money(value: float | None, currency: str | None) -> str:
    return "-" if value is None else f"{value:,.2f}" + (f" {currency}" if currency else "")


def _share(share: Rate | None) -> str:
    return "-" if share is None else f"{share.value:.1%}"


def _between(share: Rate) -> str:
    return f"{_share(share)} ({share.low:.1%} to {share.high:.1%})"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
