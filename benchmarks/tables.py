"""What the benchmarks found, and how it is shown: figures and bars, on a screen and in a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rich.table import Table


@dataclass(frozen=True)
class Figures:
    """Medians of one contestant over its runs. Seconds and bytes."""

    part: str
    job: str
    contestant: str
    events: int
    runs: int
    wall: float
    fastest: float
    slowest: float
    cpu: float
    peak: int

    @property
    def rate(self) -> float:
        """Events per second of the whole process."""
        return self.events / self.wall


@dataclass(frozen=True)
class Bar:
    """What is promised, and what was measured: `measured` must be at least, or at most, `limit`."""

    text: str
    measured: float
    limit: float
    at_most: bool = False
    unit: str = "x"

    @property
    def passed(self) -> bool:
        """Whether the promise is kept."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


Sheet: TypeAlias = tuple[str, list[str], list[list[str]]]
"""A title, the names of the columns, the rows."""


def figures_sheet(figures: list[Figures]) -> Sheet:
    """The measured contestants."""
    names = ["part", "job", "contestant", "events", "events/s", "wall s", "min .. max", "CPU s", "peak MB"]
    rows = [
        [
            f.part,
            f.job,
            f.contestant,
            f"{f.events:,}",
            f"{f.rate:,.0f}" if f.events > 10 else "",
            f"{f.wall:.2f}",
            f"{f.fastest:.2f} .. {f.slowest:.2f}",
            f"{f.cpu:.2f}",
            f"{f.peak / 1e6:,.0f}",
        ]
        for f in figures
    ]
    return "Medians, whole processes", names, rows


def bars_sheet(bars: list[Bar]) -> Sheet:
    """What is promised, measured, kept."""
    rows = []
    for bar in bars:
        digits = 0 if bar.limit >= 100 else 2
        measured, limit = (f"{number:,.{digits}f} {bar.unit}" for number in (bar.measured, bar.limit))
        rows.append([bar.text, measured, ("<= " if bar.at_most else ">= ") + limit, "pass" if bar.passed else "FAIL"])
    return "Bars", ["what", "measured", "bar", "kept"], rows


TEXT = {"part", "job", "contestant", "what", "kept"}


def on_screen(sheet: Sheet) -> Table:
    """The sheet for a terminal."""
    title, names, rows = sheet
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, justify="left" if name in TEXT else "right")
    for row in rows:
        table.add_row(*row, style="red" if row[-1] == "FAIL" else None)
    return table


def as_markdown(sheet: Sheet) -> str:
    """The sheet for a page."""
    _, names, rows = sheet
    rule = ["---" if name in TEXT else "---:" for name in names]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *rows)) + "\n"


def fill_in(page: Path, sheets: Sequence[Sheet], said: str) -> None:
    """Put the sheets between the page's two marks. Raises ValueError when it has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition("<!-- figures: begin -->\n")
    _, end, after = rest.partition("<!-- figures: end -->")
    if not (begin and end):
        raise ValueError(f"{page} has no `<!-- figures: begin -->` and `<!-- figures: end -->`, each on its line")
    filled = "\n".join(as_markdown(sheet) for sheet in sheets)
    page.write_text(f"{before}{begin}\n{said}\n\n{filled}\n{end}{after}", encoding="utf-8")
