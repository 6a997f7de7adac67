"""`flowops report`: goal attainment, losses, totals and what is pending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowops.cli.options import AsJson, Project, Verbose
from flowops.cli.sql import warehouse_of
from flowops.errors import ConfigError, RunError
from flowops.settings.counted import counted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from flowops.lab.rates import Rate
    from flowops.warehouse.reports import Attainment, LayerAttainment, Loss, Refused, Totals, Waiting

WIDE = 110
"""Columns of a terminal from which the tables show everything."""


def command(
    plan: Annotated[str | None, typer.Argument(help="Only this plan.", show_default=False)] = None,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Show goal attainment and losses."""
    from rich.console import Console

    from flowops.warehouse import reports
    from flowops.warehouse.outcomes import connect

    folder, zone = warehouse_of(project)
    connection = connect(folder, zone)
    try:
        totals = reports.totals(connection, plan)
        if plan is not None and not totals:
            known = ", ".join(row.plan for row in reports.totals(connection)) or "none"
            raise ConfigError(f"no outcomes of a plan {plan!r}; there are: {known}")
        if wrong := reports.check_adds_up(connection):
            tasks = counted(len(wrong), "task")
            raise RunError(
                f"the attempts of {tasks} do not add up, first: {wrong[0]}; these outcomes are not "
                "to be trusted: the view `balance` shows where, and `flowops replay --fresh` makes them anew"
            )
        attainment = reports.attainment(connection, plan)
        layers = reports.by_layer(connection, plan)
        losses = reports.losses(connection, plan)
        waiting = reports.waiting(connection, plan)
        refused = reports.refused(connection) if plan is None else []
    finally:
        connection.close()
    if as_json:
        _print_json(
            {
                "attainment": [_plain(row) | _bounds(row) for row in attainment],
                "layers": [_plain(row) for row in layers],
                "losses": [_plain(row) for row in losses],
                "totals": [_plain(row) for row in totals],
                "pending": [_plain(row) for row in waiting],
                "refused": [_plain(row) for row in refused],
            }
        )
    else:
        render(Console(), attainment, layers, losses, totals, waiting, refused, zone)


def _print_json(data: Mapping[str, Any]) -> None:
    import msgspec

    encoded = msgspec.json.Encoder(decimal_format="number").encode(data)
    typer.echo(msgspec.json.format(encoded, indent=2).decode())


def _plain(row: Any) -> dict[str, Any]:
    from flowops.core.time import isoformat

    values = dict(row._asdict())
    if "next_due" in values:
        values["next_due"] = isoformat(values["next_due"])
    return values


def _bounds(row: Attainment) -> dict[str, float | None]:
    """Between what the lift lies (S23)."""
    lift = _lift_of(row)
    low, high = (None, None) if lift is None else (lift.low, lift.high)
    return {"lift_low": low, "lift_high": high}


def _lift_of(row: Attainment) -> Rate | None:
    """How much higher the rate of who was not held out is than that of who was, with its interval (S23)."""
    from flowops.lab.rates import difference, rate

    own, natural = rate(row.assigned_attained, row.assigned), rate(row.held_out_attained, row.held_out)
    return difference(own, natural) if own is not None and natural is not None else None


def render(
    console: Console,
    attainment: Sequence[Attainment],
    layers: Sequence[LayerAttainment],
    losses: Sequence[Loss],
    totals: Sequence[Totals],
    waiting: Sequence[Waiting],
    refused: Sequence[Refused],
    zone: str,
) -> None:
    """Print the report, with times in `zone`; it reads well from 80 columns on."""
    wide = console.width >= WIDE
    console.print(_attainment(attainment, wide=wide))
    if any(row.held_out for row in attainment):
        console.print(_lift(attainment, wide=wide))
    if layers:
        console.print(_layers(layers))
    console.print(_totals(totals, wide=wide))
    if losses:
        console.print(_losses(losses))
    if waiting:
        console.print(_waiting(waiting, zone))
    if refused:
        console.print(_refused(refused))


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[RenderableType]], texts: int) -> RenderableType:
    """The first `texts` columns are names, the others figures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return Text(f"{title}: none\n", style="dim")
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for number, heading in enumerate(headings):
        if number < texts:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _share(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}%"


def _rate(row: Attainment) -> RenderableType:
    from rich.text import Text

    if row.rate is None or row.target is None:
        return _share(row.rate)
    return Text(_share(row.rate), style="green" if row.rate >= row.target else "red")


def _attainment(rows: Sequence[Attainment], *, wide: bool) -> RenderableType:
    headings = ["plan", "goal", "delivered", "attained", "rate", "target", "value"]
    cells: list[list[RenderableType]] = []
    for row in rows:
        value = "-" if row.value is None else f"{row.value:,.2f}"
        target = "-" if row.target is None else f"{100 * row.target:g}%"
        line: list[RenderableType] = [
            row.plan,
            row.goal,
            f"{row.delivered:,}",
            f"{row.attained:,}",
            _rate(row),
            target,
            value,
        ]
        if wide:
            line[2:2] = [f"{row.tasks:,}", f"{row.sent:,}"]
            line.insert(-1, f"{row.orders:,}")
        cells.append(line)
    if wide:
        headings[2:2] = ["tasks", "sent"]
        headings.insert(-1, "orders")
    return _table("Goal attainment", headings, cells, 2)


def _lift(rows: Sequence[Attainment], *, wide: bool) -> RenderableType:
    headings = ["plan", "goal", "rate", *(["held out", "attained"] if wide else []), "their rate", "lift, points"]
    cells = [
        [
            row.plan,
            row.goal,
            _share(row.assigned_attained / row.assigned if row.assigned else None),
            *([f"{row.held_out:,}", f"{row.held_out_attained:,}"] if wide else []),
            _share(row.held_out_rate),
            "-" if lift is None else f"{100 * lift.value:+.1f} ({100 * lift.low:+.1f} to {100 * lift.high:+.1f})",
        ]
        for row, lift in ((row, _lift_of(row)) for row in rows if row.held_out)
    ]
    return _table("Against those held out", headings, cells, 2)


def _layers(rows: Sequence[LayerAttainment]) -> RenderableType:
    headings = ["plan", "goal", "layer", "delivered", "attained", "rate", "value"]
    cells = [
        [
            row.plan,
            row.goal,
            row.layer,
            f"{row.delivered:,}",
            f"{row.attained:,}",
            _share(row.rate),
            "-" if row.value is None else f"{row.value:,.2f}",
        ]
        for row in rows
    ]
    return _table("By layer", headings, cells, 3)


def _totals(rows: Sequence[Totals], *, wide: bool) -> RenderableType:
    figures = ["tasks", "triggers", "users", "attempts", "delivered", "lost", "pending"]
    if not wide:
        figures = ["triggers", "attempts", "delivered", "lost", "pending"]
    if any(row.displayed for row in rows):  # some channel has receipts
        figures[figures.index("lost") : figures.index("lost")] = ["displayed", "clicked"] if wide else ["clicked"]
    headings = ["plan", "name", *figures] if wide else ["plan", *figures]
    cells = [
        [row.plan, *([row.name or ""] if wide else []), *(f"{getattr(row, figure):,}" for figure in figures)]
        for row in rows
    ]
    return _table("Attempts", headings, cells, 2 if wide else 1)


def _losses(rows: Sequence[Loss]) -> RenderableType:
    return _table(
        "Losses",
        ["plan", "stage", "attempts", "share"],
        [[row.plan, row.stage, f"{row.attempts:,}", _share(row.share)] for row in rows],
        2,
    )


def _waiting(rows: Sequence[Waiting], zone: str) -> RenderableType:
    from flowops.core.time import Zone

    clock = Zone(zone)
    return _table(
        "Pending when the engine last stopped",
        ["plan", "kind", "next due", "count"],
        [[row.plan, row.kind, clock.minute(row.next_due), f"{row.instances:,}"] for row in rows],
        3,
    )


def _refused(rows: Sequence[Refused]) -> RenderableType:
    return _table(
        "Late records and dead letters",
        ["source", "reason", "records"],
        [[row.source, row.reason, f"{row.records:,}"] for row in rows],
        2,
    )
