"""The page of a backtest: whole in itself, and of whatever text it is given a text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from project import flowops, refused

from flowops.cli.init import command as init
from flowops.core.time import Zone
from flowops.lab.backtest import Backtest, Goal, Result
from flowops.lab.figures import _ticks, days_in_a_bar
from flowops.lab.page import page
from flowops.lab.rates import difference, rate

VOID = {"meta"}
FLOW = "html head meta title style body h1 h2 h3 p small code a section div dl dt dd ul li span details summary"
ELEMENTS = {*FLOW.split(), *["table", "thead", "tbody", "tr", "th", "td", "svg", "rect", "text", "line", "circle"]}


class Read(HTMLParser):
    """A page read strictly: every element known and closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.rects: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS, tag
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)
        if self.open[-2:] == ["rect", "title"]:
            self.rects.append(data)


def result(name: str, days: list[tuple[int, str, int]], goals: list[Goal]) -> Result:
    lost = {"reentry": 3, "holdout": 3}
    return Result(name, name, 10, 10, 4, lost, days, 4.0, 4, 3, goals, {"delay": 1}, [], holdout=True)


def goal(name: str, receipt: str | None = None) -> Goal:
    own, anyway = rate(3, 4), rate(1, 3)
    assert own is not None
    assert anyway is not None
    return Goal(name, receipt, 0.5, 3, 12.5, 1, 2.0, own, anyway, difference(own, anyway))


def test_it_is_whole_in_itself(tmp_path: Path) -> None:
    """No script, nothing fetched, and each number of the backtest is in it."""
    init(tmp_path / "shop")
    file = tmp_path / "page.html"
    said = flowops("backtest", "--project", tmp_path / "shop", "--html", file).stdout
    text = file.read_text()
    read = Read(text)
    leads = [value for name, value in read.attributes if name in ("href", "src", "srcset", "action", "data")]
    assert leads == ["#plan-0"]
    assert not re.search(r"https?:|//|url\(|@import|<script|\bon[a-z]+=", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    shown = " ".join(read.texts)
    for row in said.splitlines():
        figure = re.search(r"(?:triggered|lost: \w+|dispatched|push|anyway)  +([0-9,]+)", row)
        if figure:
            assert figure[1] in shown
    assert [each for each in read.rects if "push" in each] == [
        f"{day}: {count} push" for day, count in re.findall(r"(\S+) push +([0-9]+)", said)
    ]
    assert file.read_text() == text
    flowops("backtest", "--project", tmp_path / "shop", "--html", file)
    assert file.read_text() == text


def test_text_stays_text() -> None:
    """Whatever a plan, a goal, a channel or a source is called."""
    bad = '<script>alert(1)</script>"\'&<b x="y">'
    day = (19_000, bad, 4)
    told = Backtest([result(bad, [day], [goal(bad), goal(bad, bad)])], bad, 10, 0, 1, 1, 1, [bad])
    read = Read(page(told, bad, Zone("UTC")))
    assert any(bad in text for text in read.texts)
    assert not any("script" in name for name, _ in read.attributes)
    assert any(value is not None and bad in value for name, value in read.attributes if name == "aria-label")


def test_nothing_is_drawn_of_nothing() -> None:
    """A plan that never triggered, and one whose day had no message."""
    nothing = Result("p", "v", 0, 0, 0, {}, [], None, 0, 0, [], {}, [], holdout=False)
    empty = Goal("g", None, None, 0, None, 0, None, None, None, None)
    unmet = Result("q", "v", 2, 2, 0, {"reentry": 2}, [], None, 0, 0, [empty], {}, [], holdout=False)
    read = Read(page(Backtest([nothing, unmet], None, 0, None, None, 0, 0, []), "shop", Zone("UTC")))
    shown = "".join(read.texts)
    assert "Nobody was reached, so there is no rate." in shown
    assert "since the plan holds nobody out" in shown


def test_a_long_time_has_several_days_in_a_bar() -> None:
    for days, step in ((1, 1), (400, 1), (401, 7), (2801, 28), (20_000, 20_000)):
        counts = [(19_000, "push", 1), (19_000 + days - 1, "push", 2)]
        assert days_in_a_bar(counts) == step
        told = Backtest([result("p", counts, [])], None, 1, 0, 1, 0, 0, [])
        rects = [each for each in Read(page(told, "shop", Zone("UTC"))).rects if "push" in each]
        assert sum(int(each.split()[-2]) for each in rects) == 3


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    init(tmp_path / "shop")
    nowhere = tmp_path / "nowhere" / "page.html"
    words = refused(2, "backtest", "--project", tmp_path / "shop", "--html", nowhere)
    assert "cannot be written: No such file or directory" in words


@pytest.mark.parametrize("highest", [0.4, 1, 3, 7, 99, 100, 101, 12_345])
def test_scales_are_round_and_reach_the_highest(highest: float) -> None:
    ticks = _ticks(highest)
    assert ticks[0] == 0
    assert ticks[-1] >= highest
    assert 2 <= len(ticks) <= 6
    assert len({round(after - before, 9) for before, after in pairwise(ticks)}) == 1
