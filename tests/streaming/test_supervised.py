"""`flowops run` watches its workers: what dies is started again from the last epoch, and outcomes do not tell."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from endpoint import Endpoint
from project import (
    FAULTS,
    FLOWOPS,
    Outcomes,
    copy_of,
    events_of,
    flowops,
    has_read,
    last_segment,
    outcomes,
    replay,
    resumed_from,
    started,
    wait_for,
    workers_of,
    write_project,
)

from flowops.streaming.pace import Pace

PLAN = """\
plan: quick
name: A reminder two seconds later, with an experiment, a cap and a goal
trigger: {event: product_view, without: order, within: 2s}
caps: [{at_most: 2, per: 24h}]
experiment: {name: copy, holdout: 20%, variants: {a: 50%, b: 50%}}
send: {channel: push, content: {variants: {a: {title: A}, b: {title: B}}}}
goals: [{goal: ordered, event: order, within: 5m, value: amount}]
"""

UNTIL = "2026-01-01"
"""Later than anything in the shop's log, and before now: where a replay comes to that equals a run."""


@contextmanager
def growing(folder: Path) -> Iterator[list[int]]:
    """A log in three files that grows meanwhile, as things happen; the times of its events, in microseconds."""
    draw = random.Random(7)
    times: list[int] = []
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.01):
            ts = time.time_ns() // 1_000_000
            line = {
                "event_id": f"e{len(times)}",
                "user_id": f"u{draw.randrange(40)}",
                "event": draw.choice(["product_view", "product_view", "order", "page"]),
                "ts": ts,
                "sku": "A",
                "amount": draw.randrange(100),
            }
            with (folder / "data" / f"web-{draw.randrange(3)}.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            times.append(ts * 1000)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def come_to(folder: Path, moment: int) -> bool:
    """Whether event time has passed this moment."""
    path = folder / ".flowops" / "pace"
    return path.exists() and path.stat().st_size > 0 and Pace(path).watermark() > moment


def test_workers_that_are_killed_under_a_growing_log_change_nothing(tmp_path: Path) -> None:
    """S7, S32: kill -9 of one worker of two, then of the other: the outcomes are those of a replay of the same log."""
    flowops_yaml = FLOWOPS.replace("out_of_orderness: 5s", "out_of_orderness: 3s")
    folder = write_project(tmp_path / "live", {"quick": PLAN}, flowops_yaml)
    for number in range(3):
        (folder / "data" / f"web-{number}.jsonl").touch()
    with started(folder, "--epoch", "0.2", "--processes", "2", verb="run") as process:
        assert wait_for(has_read(folder, 0), process)
        with growing(folder) as times:
            for victim in (1, 0):
                assert wait_for(has_read(folder, 1), process)
                begin = last_segment(folder)
                assert wait_for(lambda: last_segment(folder) >= begin + 2, process)  # noqa: B023 - asked here and now
                before = set(workers_of(process))
                os.kill(sorted(before)[victim], signal.SIGKILL)
                assert wait_for(lambda: len(set(workers_of(process)) - before) == 2, process)  # noqa: B023 - asked here and now
        assert wait_for(lambda: come_to(folder, times[-1] + 2_500_000), process)
        process.terminate()
        said, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert said.startswith("Stopped: read ")
    assert events_of(log) == [
        "started",
        "ready",
        *["worker died", "ready"] * 2,
        "stopping",
        "stopped",
    ]
    assert 'level=warning event="worker died" worker=1 reason="was killed (SIGKILL)" restart_in=1s failures=1' in log
    assert 'event="worker died" worker=0 reason="was killed (SIGKILL)" restart_in=2s failures=2' in log
    assert len(resumed_from(folder)) == 3
    assert min(resumed_from(folder)[1:]) > 1
    undisturbed = copy_of(folder, tmp_path / "undisturbed")
    end = datetime.fromtimestamp(times[-1] / 1_000_000 + 2.5).astimezone().isoformat()
    assert replay(undisturbed, "--until", end)["status"] == "finished"
    found = outcomes(folder)
    assert found["late"][0] == 0, "the machine was too slow for this test"
    assert found == outcomes(undisturbed)
    assert found["dispatches"][0] > 20


def test_a_failure_that_does_not_pass_is_given_up_with_its_reason(shop: Path, tmp_path: Path) -> None:
    """After as many restarts as were allowed: exit code 3, and the state is kept."""
    folder = copy_of(shop, tmp_path / "shop")
    done = flowops(
        "run",
        *("--project", folder, "--restarts", "1", "--processes", "2"),
        env={"PYTHONPATH": str(FAULTS), "FLOWOPS_TEST_BREAK": "1"},
    )
    assert done.returncode == 3
    log, complaint = done.stderr.split("flowops: ")
    assert events_of(log) == ["started", "ready", "worker died", "ready"]
    assert "restart_in=1s failures=1" in log
    assert complaint.startswith("the run failed: ValueError: broken for a test.")
    assert "Given up after 1 restarts within 10 minutes (--restarts)." in complaint


def test_restarts_may_be_left_to_somebody_else(shop: Path, tmp_path: Path) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    with started(folder, "--restarts", "0", verb="run", slow=0.05) as process:
        assert wait_for(has_read(folder, 1_000), process)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "worker 0 of 1 was killed (SIGKILL)" in said
    assert "Given up after 0 restarts" in said


def test_a_stop_while_a_restart_is_awaited_ends_well(shop: Path, tmp_path: Path) -> None:
    """Nothing runs then; the state is that of the last epoch, and no more is shown than that."""
    folder = copy_of(shop, tmp_path / "shop")
    endpoint = Endpoint()
    with started(folder, "--listen", endpoint.address, "--epoch", "0.1", verb="run", slow=0.05) as process:
        for _ in range(2):  # the second restart comes after two seconds
            assert wait_for(has_read(folder, 1_000), process)
            os.kill(workers_of(process)[0], signal.SIGKILL)
            assert wait_for(lambda: not workers_of(process), process)
            (folder / ".flowops" / "pace").unlink()
            if _ == 0:
                assert wait_for(lambda: bool(workers_of(process)), process)
        assert endpoint.get("/healthz") == (200, "ok: restarting\n"), "it is being seen to"
        assert endpoint.get("/readyz")[0] == 503
        process.terminate()
        said, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert said.startswith("Stopped: read ")
    assert events_of(log)[-2:] == ["worker died", "stopped"]
    published = outcomes(folder)["triggers"][0]
    with started(folder, "--epoch", "0.1", verb="run") as process:
        assert wait_for(has_read(folder, 1), process)
        process.terminate()
        process.communicate(timeout=30)
    assert outcomes(folder)["triggers"][0] >= published, "what was shown stays"


@pytest.fixture(scope="module")
def until_now(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What a run comes to that has read the shop's log to its end: time moves on with the clock, so nothing waits."""
    folder = copy_of(shop, tmp_path_factory.mktemp("until") / "shop")
    replay(folder, "--until", UNTIL)
    found = outcomes(folder)
    assert found["pending"][0] == 0
    return found


def test_a_run_may_be_rescaled_and_stopped_under_load(shop: Path, tmp_path: Path, until_now: Outcomes) -> None:
    """SIGTERM in the middle, on one process, then three, then two: exit 0 each time, and equal outcomes in the end."""
    folder = copy_of(shop, tmp_path / "shop")
    for processes in (1, 3):
        options = ("--epoch", "0.2", "--processes", str(processes))
        with started(folder, *options, verb="run", slow=0.05 * processes) as process:
            assert wait_for(has_read(folder, 3_000), process)
            process.terminate()
            said, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
        assert events_of(log)[-2:] == ["stopping", "stopped"]
        assert said.startswith("Stopped")
    assert 0 < outcomes(folder)["triggers"][0] < until_now["triggers"][0]
    with started(folder, "--epoch", "0.2", "--processes", "2", verb="run") as process:
        past = int(datetime.fromisoformat(f"{UNTIL}T00:00:00+00:00").timestamp() * 1_000_000)
        assert wait_for(lambda: come_to(folder, past), process)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert resumed_from(folder)[-1] > 1
    assert outcomes(folder) == until_now
