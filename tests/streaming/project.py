"""A small shop, written out as a project: for tests that run the engine as a process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import forked

from flowops.streaming.pace import Pace
from flowops.warehouse.segments import found

START_MS = 1_650_499_200_000  # 2022-04-21 00:00 UTC
DAY_MS = 86_400_000

FLOWOPS = """\
flowops: 1
project: shop
zone: Asia/Shanghai
currency: CNY
sources:
  web:
    file: data/*.jsonl
    fields: {ts: {path: ts, unit: ms}}
    out_of_orderness: 5s
events:
  product_view: {properties: {sku: string, price: money, category: string}}
  order: {properties: {sku: string, amount: money}}
channels:
  push: {type: file, path: out/push.jsonl, receipts: assumed}
"""

REMINDER = """\
plan: reminder
name: Reminder of an unfinished order
trigger:
  event: product_view
  where: price >= 30
  without: order
  within: 1h
caps:
  - {at_most: 2, per: 24h}
quiet: {from: 22:00, to: 08:00, then: hold}
experiment: {name: copy, holdout: 10%, variants: {short: 50%, long: 50%}}
send:
  channel: push
  content:
    variants:
      short: {title: Still thinking?, body: "{{ product_view.sku }} is waiting."}
      long: {title: Still thinking about it?, body: "Take {{ product_view.sku }} home tonight."}
goals:
  - {goal: ordered, event: order, within: 1h, value: amount}
"""

SIMPLE = """\
plan: simple
name: A reminder two seconds later
trigger: {event: product_view, without: order, within: 2s}
send: {channel: push, content: {title: T, body: "{{ product_view.sku }}"}}
"""


def write_project(folder: Path, plans: Mapping[str, str] | None = None, flowops: str = FLOWOPS) -> Path:
    """The project without data."""
    for part in ("rules", "data"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "flowops.yaml").write_text(flowops)
    for name, text in (plans or {"reminder": REMINDER}).items():
        (folder / "rules" / f"{name}.yaml").write_text(text)
    return folder


def lines_of(times: Iterable[int], users: int, seed: int = 1) -> Iterator[str]:
    """An event for each of the times: a line each, with its end."""
    draw = random.Random(seed).random
    names = ["product_view"] * 5 + ["order"] * 2 + ["page"] * 3
    for number, ts in enumerate(times):
        yield (
            f'{{"event_id":"e{number}","user_id":"u{int(users * draw() ** 2)}","event":"{names[int(10 * draw())]}",'
            f'"ts":{ts},"sku":"sku-{int(1000 * draw())}","price":{int(4000 * draw()) / 100},'
            f'"amount":{int(9000 * draw()) / 100}}}\n'
        )


def times_of_a_day(events: int, seed: int = 1) -> Iterator[int]:
    """A little out of order; one in 500 comes too late."""
    draw = random.Random(seed).random
    for number in range(events):
        late = 60_000 if number % 500 == 499 else 0
        yield START_MS + number * DAY_MS // events - int(4000 * draw()) - late


def write_events(folder: Path, events: int, users: int, files: int, seed: int = 1) -> None:
    """`events` over a day, dealt to `files` files."""
    deal = random.Random(seed + 1).random
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context((folder / "data" / f"web-{number}.jsonl").open("w")) for number in range(files)]
        for line in lines_of(times_of_a_day(events), users, seed):
            outputs[int(files * deal())].write(line)


def copy_of(project: Path, folder: Path) -> Path:
    """The same project without anything that a run made; data by link."""
    shutil.copytree(project / "rules", folder / "rules")
    shutil.copy(project / "flowops.yaml", folder)
    (folder / "data").symlink_to(project / "data")
    return folder


def command(folder: Path, *options: str, verb: str = "replay") -> list[str]:
    """`flowops replay` on the project."""
    return [sys.executable, "-m", "flowops.cli.main", verb, "--project", str(folder), *options]


def flowops(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    cwd: Path | None = None,
    preexec_fn: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """`flowops` with these arguments, to its end; what it said must hold no traceback, whatever its code."""
    words = [str(word) for word in arguments]
    whole = {**os.environ, **(env or {})}
    if preexec_fn is not None or (env is not None and "PYTHONPATH" in env):  # they are for an interpreter that starts
        done = subprocess.run(
            [sys.executable, "-m", "flowops.cli.main", *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=whole,
            cwd=cwd,
            preexec_fn=preexec_fn,
        )
    else:
        done = forked.run(words, env=whole, cwd=cwd, timeout=timeout)
    assert "Traceback" not in done.stderr, done.stderr
    assert "panicked" not in done.stderr + done.stdout, done.stderr
    return done


def refused(code: int, *arguments: str | Path, **more: Any) -> str:
    """What `flowops` says when it ends with `code`; one message, and nothing on standard output."""
    done = flowops(*arguments, **more)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    log, found, words = f"\n{done.stderr}".partition("\nflowops: ")
    assert found
    assert all(line.startswith("time=") for line in log.split()[:1])  # a live run tells what happens before it ends
    return words


def replay(folder: Path, *options: str, timeout: float = 300, verb: str = "replay") -> dict[str, Any]:
    """Run to the end; the summary."""
    done = flowops(verb, "--project", folder, "--json", *options, timeout=timeout)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


FAULTS = Path(__file__).parent / "faults"


def slowly(seconds: float, chunk: int = 1 << 15, fault: str | None = None) -> dict[str, str]:
    """The environment of an engine that takes so long for a chunk of so many bytes, and dies at `fault` (point:n)."""
    env = {"PYTHONPATH": str(FAULTS), "FLOWOPS_TEST_SLOW": str(seconds), "FLOWOPS_TEST_CHUNK": str(chunk)}
    return {**env, "FLOWOPS_TEST_FAULT": fault} if fault else env


@contextmanager
def started(
    folder: Path, *options: str, verb: str = "replay", slow: float = 0.0, chunk: int = 1 << 15
) -> Iterator[subprocess.Popen[str]]:
    """The engine under way, in a process group of its own, all of which is gone afterwards.

    `slow`: seconds that a reader takes for a chunk, so that a small run lasts.
    """
    (folder / ".flowops" / "pace").unlink(missing_ok=True)
    env = slowly(slow, chunk) if slow else {}
    process = subprocess.Popen(
        command(folder, *options, verb=verb),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **env},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(
    what: Callable[[], bool],
    process: subprocess.Popen[str] | None = None,
    seconds: float = 60,
    said: Callable[[], object] = str,
) -> bool:
    """Wait until `what` holds; False if the process ended first. Fails when it takes too long, with what was `said`."""
    end = time.monotonic() + seconds
    while not what():
        if process is not None and process.poll() is not None:
            return False
        assert time.monotonic() < end, f"it did not come in time\n{said()}"
        time.sleep(0.01)
    return True


def has_read(folder: Path, records: int) -> Callable[[], bool]:
    """Whether the run under way has read so many records."""
    path = folder / ".flowops" / "pace"
    size = 0

    def ask() -> bool:
        nonlocal size
        size = path.stat().st_size if path.exists() else 0
        return size > 0 and Pace(path).read() >= records

    return ask


def kill_after(folder: Path, records: int, *options: str, slow: float = 0.0) -> bool:
    """Start, kill -9 all its processes when it has read so many records; False if it ended before."""
    with started(folder, *options, slow=slow) as process:
        return wait_for(has_read(folder, records), process)


def events_of(said: str) -> list[str]:
    """The events of a live run's log, which is all that stands on its standard error."""
    found = re.findall(r'^time=\S+Z level=\w+ event=(?:"([^"]*)"|(\S+))(?: |$)', said, re.MULTILINE)
    assert len(found) == said.count("\n"), said
    return [quoted or bare for quoted, bare in found]


def last_segment(folder: Path) -> int:
    """The number of the last segment that is there."""
    return max((segment.last for segment in found(folder / "warehouse")), default=0)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of the engine's workers."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in children.read_text().split()]


def resumed_from(folder: Path) -> list[int]:
    """From the runtime's own record: the epoch from which each start went on, oldest first; 1 is the beginning."""
    starts: dict[int, int] = {}
    for path in sorted((folder / ".flowops" / "recovery").glob("*.sqlite3")):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            starts.update(connection.execute("select ex_num, resume_epoch from exs").fetchall())
    return [epoch for _, epoch in sorted(starts.items())]


RELATIONS = ("triggers", "outcomes", "dispatches", "receipts", "goal_events", "late", "dead_letters", "pending")

Outcomes = dict[str, tuple[int, str]]


def outcomes(folder: Path) -> Outcomes:
    """All that a run caused, in no order: by relation, and for the channel's file, how many rows and their digest."""
    seen: Outcomes = {}
    with duckdb.connect(str(folder / "warehouse" / "outcomes.duckdb"), read_only=True) as connection:
        for relation in RELATIONS:
            rows = sorted(repr(row) for row in connection.execute(f"select * from {relation}").fetchall())
            seen[relation] = len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()
    for path in sorted((folder / "out").glob("*")):
        lines = sorted(path.read_bytes().splitlines())
        seen[path.name] = len(lines), hashlib.sha256(b"\n".join(lines)).hexdigest()
        ids = [json.loads(line)["dispatch_id"] for line in lines]
        assert len(ids) == len(set(ids)), "a message stands in the file twice"
    return seen


def rows_of(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What the published outcomes answer."""
    with duckdb.connect(str(folder / "warehouse" / "outcomes.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()
