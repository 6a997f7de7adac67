"""Memory stays bounded however the input is cut into files: readers keep step (S6, S7)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from project import DAY_MS, START_MS, Outcomes, command, lines_of, outcomes, write_project

EVENTS = 50_000
DAYS = 365
MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
sys.stderr.write(str(usage.ru_maxrss))
os._exit(os.waitstatus_to_exitcode(status))
"""
"""In a process of its own: what is measured counts from the fork, and the test's own memory is large."""

SKU = "A name as long as two thousand letters. " * 50

PLAN = """\
plan: reminder
name: Holds on to long names
trigger: {event: product_view, without: {event: order, where: sku = product_view.sku}, within: 1h}
send: {channel: push, content: {title: T, body: B}}
"""


def time_of(number: int) -> int:
    return START_MS + number * DAYS * DAY_MS // EVENTS


@pytest.fixture(scope="module")
def log() -> list[str]:
    """A year of events in order, a hundred MB of them."""
    lines = lines_of((time_of(number) for number in range(EVENTS)), users=20_000)
    return [line.replace('"sku-', f'"{SKU}{number}') for number, line in enumerate(lines)]


def one(number: int) -> str:  # noqa: ARG001
    return "web"


def daily(number: int) -> str:
    return f"web-{(time_of(number) - START_MS) // DAY_MS:03d}"


def halves(number: int) -> str:
    """The first half of the year in one file, the second in another, which must wait."""
    return "begin" if number < EVENTS // 2 else "end"


def unequal(number: int) -> str:
    """One event in five hundred in a short file, which covers the same year as the long one."""
    return "short" if number % 500 == 0 else "long"


def brief(number: int) -> str:
    """A file that ends after three days beside one of the whole year."""
    return "brief" if number % 2 and number < EVENTS // 120 else "long"


def replayed(folder: Path, log: list[str], file_of: Callable[[int], str]) -> tuple[Outcomes, float]:
    """The outcomes, and the peak of resident memory in MiB."""
    write_project(folder, {"reminder": PLAN})
    files: dict[str, list[str]] = {}
    for number, line in enumerate(log):
        files.setdefault(file_of(number), []).append(line)
    for name, lines in files.items():
        (folder / "data" / f"{name}.jsonl").write_text("".join(lines))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command(folder)], stderr=subprocess.PIPE, text=True, check=True
    )
    return outcomes(folder), int(done.stderr) / 1024


def test_memory_is_that_of_one_file_and_so_are_the_outcomes(tmp_path: Path, log: list[str]) -> None:
    """In 365 daily files, and in two: of half a year each, or one of them very much shorter."""
    expected, most = replayed(tmp_path / "one", log, one)
    assert expected["dispatches"][0] > 5_000
    for file_of in (daily, halves, unequal, brief):
        found, peak = replayed(tmp_path / file_of.__name__, log, file_of)
        assert found == expected
        assert peak < most + 25, f"{peak:.0f} MiB, and {most:.0f} MiB in one file"
