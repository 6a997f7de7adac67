"""Figures as inline SVG, and the elements of a page. Built as trees, so that whatever text comes in is escaped.

Nothing here knows of plans; colours are the page's (`var(--...)`), so a figure follows its light and its dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal, TypeAlias
from xml.etree.ElementTree import Element

from flowops.core.time import isodate
from flowops.settings.counted import counted

Child: TypeAlias = "Element | str | None"

WIDTH = 720
SERIES = 6
"""Colours of series, `--s0` to `--s5`; more series begin again."""

_LABELS = 190
_FIGURES = 130
_ROW = 26


def el(tag: str, *children: Child, **attributes: str | float) -> Element:
    """An element; `class_` is `class`, `stroke_width` is `stroke-width`."""
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    made = Element(tag, {name: _text(value) for name, value in names.items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif child is not None and last is None:
            made.text = (made.text or "") + child
        elif child is not None and last is not None:
            last.tail = (last.tail or "") + child
    return made


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a funnel: all, one part that falls out of it, or what remains."""

    label: str
    count: int
    kind: Literal["all", "lost", "left"]


def funnel(bars: Sequence[Bar], about: str) -> Element:
    """Rows from top to bottom; each part that falls out begins where what remains of the whole ends."""
    whole = max((bar.count for bar in bars), default=0) or 1
    room = WIDTH - _LABELS - _FIGURES
    remains = max((bar.count for bar in bars if bar.kind == "all"), default=0)
    rows: list[Element] = []
    for number, bar in enumerate(bars):
        top = number * _ROW
        begin = 0
        if bar.kind == "lost":
            remains -= bar.count
            begin = max(remains, 0)
        said = f"{bar.count:,}" + ("" if bar.kind == "all" else f"  {bar.count / whole:.1%}")
        rows += [
            _words(bar.label, _LABELS - 10, top + 17, anchor="end"),
            el(
                "rect",
                el("title", f"{bar.label}: {said}"),
                x=_LABELS + room * begin / whole,
                y=top + 4,
                width=max(room * bar.count / whole, 1 if bar.count else 0),
                height=_ROW - 8,
                rx=2,
                fill=f"var(--{bar.kind})",
            ),
            _words(said, WIDTH - _FIGURES + 10, top + 17, kind="figure"),
        ]
    return _svg(len(bars) * _ROW + 4, about, *rows)


def days(counts: Sequence[tuple[int, str, int]], series: Sequence[str], about: str) -> Element:
    """(day, series, count) as bars, those of one day upon each other; of a long time several days in one bar."""
    left, bottom, height = 56, 28, 200
    first, last = min(day for day, _, _ in counts), max(day for day, _, _ in counts)
    step = days_in_a_bar(counts)
    places = (last - first) // step + 1
    sums: dict[tuple[int, int], int] = {}
    for day, name, count in counts:
        of = (day - first) // step, series.index(name)
        sums[of] = sums.get(of, 0) + count
    tops = [sum(sums.get((place, number), 0) for number in range(len(series))) for place in range(places)]
    ticks = _ticks(max(tops), least=1)
    plot = height - bottom - 8
    width = (WIDTH - left - 4) / places

    def y(count: float) -> float:
        return 8 + plot * (1 - count / ticks[-1])

    drawn: list[Element] = []
    for tick in ticks:
        drawn.append(el("line", x1=left, x2=WIDTH, y1=y(tick), y2=y(tick), class_="grid"))
        drawn.append(_words(f"{tick:,.0f}", left - 8, y(tick) + 4, anchor="end", kind="tick"))
    gap = min(4.0, width * 0.2)
    for place in range(places):
        below = 0
        for number, name in enumerate(series):
            count = sums.get((place, number), 0)
            if count:
                when = isodate(first + place * step) + ("" if step == 1 else f" and {counted(step - 1, 'day')} more")
                drawn.append(
                    el(
                        "rect",
                        el("title", f"{when}: {count:,} {name}"),
                        x=left + place * width + gap / 2,
                        y=y(below + count),
                        width=width - gap,
                        height=y(below) - y(below + count),
                        fill=f"var(--s{number % SERIES})",
                    )
                )
                below += count
    every = ceil(places / 6)
    for place in range(0, places, every):
        middle = min(max(left + (place + 0.5) * width, left + 30), WIDTH - 36)
        drawn.append(_words(isodate(first + place * step), middle, height - 8, anchor="middle", kind="tick"))
    return _svg(height, about, *drawn)


def days_in_a_bar(counts: Sequence[tuple[int, str, int]]) -> int:
    """How many days a bar of `days` stands for."""
    span = max(day for day, _, _ in counts) - min(day for day, _, _ in counts) + 1
    return next(step for step in (1, 7, 28, span) if span <= 400 * step)


@dataclass(frozen=True, slots=True)
class Dot:
    """A share, 0 to 1, between the ends of its interval."""

    label: str
    value: float
    low: float
    high: float
    said: str


def shares(dots: Sequence[Dot], target: float | None, about: str) -> Element:
    """Each share as a dot with its interval, on one scale; the target as a line."""
    room = WIDTH - _LABELS - _FIGURES
    highest = max([dot.high for dot in dots] + ([target] if target is not None else []))
    ticks = _ticks(100 * highest)
    height = len(dots) * (_ROW + 6) + 26

    def x(share: float) -> float:
        return _LABELS + room * 100 * share / ticks[-1]

    drawn: list[Element] = []
    for tick in ticks:
        drawn.append(el("line", x1=x(tick / 100), x2=x(tick / 100), y1=0, y2=height - 24, class_="grid"))
        drawn.append(_words(f"{tick:g}%", x(tick / 100), height - 8, anchor="middle", kind="tick"))
    if target is not None:
        drawn.append(el("line", x1=x(target), x2=x(target), y1=0, y2=height - 24, class_="target"))
    for number, dot in enumerate(dots):
        middle = number * (_ROW + 6) + 16
        drawn += [
            _words(dot.label, _LABELS - 10, middle + 4, anchor="end"),
            el("line", x1=x(dot.low), x2=x(dot.high), y1=middle, y2=middle, stroke=f"var(--s{number})", stroke_width=3),
            el("circle", el("title", dot.said), cx=x(dot.value), cy=middle, r=6, fill=f"var(--s{number})"),
            _words(dot.said, WIDTH - _FIGURES + 10, middle + 4, kind="figure"),
        ]
    return _svg(height, about, *drawn)


def _svg(height: float, about: str, *drawn: Element) -> Element:
    return el(
        "div",
        el("svg", *drawn, viewBox=f"0 0 {WIDTH} {_text(height)}", role="img", aria_label=about),
        class_="figure",
    )


def _words(text: str, x: float, y: float, *, anchor: str = "start", kind: str = "label") -> Element:
    return el("text", text, x=x, y=y, text_anchor=anchor, class_=kind)


def _ticks(highest: float, least: float = 0) -> list[float]:
    """From 0 to at least `highest`, in some four round steps of at least `least`."""
    if highest <= 0:
        return [0, 1]
    size = 10 ** floor(log10(highest / 4))
    step = max(least, next(size * times for times in (1, 2, 2.5, 5, 10) if size * times * 4 >= highest))
    return [round(step * number, 10) for number in range(ceil(round(highest / step, 9)) + 1)]


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{round(value, 2):g}"
