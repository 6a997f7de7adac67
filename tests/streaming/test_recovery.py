"""Kill -9 anywhere: the same command again, and the outcomes are those of a run that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from project import (
    copy_of,
    flowops,
    has_read,
    kill_after,
    last_segment,
    outcomes,
    replay,
    resumed_from,
    slowly,
    started,
    wait_for,
    workers_of,
)

KILLS = 20


@pytest.mark.parametrize("processes", [1, 2])
def test_kills_at_random_change_nothing(large_shop: Path, tmp_path: Path, processes: int) -> None:
    """S7, S32: nothing lost, nothing twice, in the warehouse and in the channel's file, wherever all of it dies.

    One kill in five comes at any moment, the start included; the others once an epoch has been committed, at any moment
    after that.
    """
    folder = copy_of(large_shop, tmp_path / "shop")
    options = ("--epoch", "0.2", "--processes", str(processes))
    draw = random.Random(processes)
    kills = KILLS if processes == 1 else KILLS // 3
    early = set(draw.sample(range(kills), kills // 5))
    for kill in range(kills):
        with started(folder, *options, slow=0.03 * processes, chunk=1 << 17) as process:
            if kill in early:
                time.sleep(draw.uniform(0.1, 2.5))
            else:
                assert wait_for(has_read(folder, 1), process)
                begin = last_segment(folder)
                assert wait_for(lambda: last_segment(folder) >= begin + 2, process)  # noqa: B023 - asked here and now
                time.sleep(draw.uniform(0.0, 0.4))
            assert process.poll() is None, "it ended before it could be killed"
    found = replay(folder, *options)
    assert found["status"] == "finished"
    assert found["resumed"]
    starts = resumed_from(folder)
    assert sum(epoch > 1 for epoch in starts) > kills // 2, f"too few starts went on past the first epoch: {starts}"
    assert outcomes(folder) == outcomes(large_shop)


CHAINS = {
    "snapshots": {
        "append-torn": 300,
        "append-after": 300,
        "rewrite-emptied": 60,
        "rewrite-after": 60,
        "reader-snapshot": 40,
    },
    "channel": {"deliver-torn": 5, "deliver-snapshot": 5},
    "segments": {"seal-before": 5, "seal-after": 5, "merge-before": 2, "merge-after": 2},
    "publications": {"publish-views": 4, "publish-before": 4, "publish-after": 4},
}
"""Where to kill, one after the other, and up to which call of each start."""


@pytest.mark.parametrize("chain", CHAINS)
def test_kills_at_chosen_points_change_nothing(shop: Path, tmp_path: Path, chain: str) -> None:
    """In snapshots, a log's rewrite and the channel's file; around a segment's rename, a merge and a publication."""
    folder = copy_of(shop, tmp_path / "shop")
    draw = random.Random(chain)
    for point, most in CHAINS[chain].items():
        assert killed_at(folder, f"{point}:{draw.randint(1, most)}", "--epoch", "0.05") == -signal.SIGKILL, point
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)


@pytest.mark.parametrize("point", ["append-torn", "seal-after"])
def test_a_worker_killed_at_a_chosen_point_stops_all_and_changes_nothing(
    shop: Path, tmp_path: Path, point: str
) -> None:
    """Its peers are stopped with it, whatever they were doing."""
    folder = copy_of(shop, tmp_path / "shop")
    nth = random.Random(point).randint(1, 5 if point == "seal-after" else 30)
    assert killed_at(folder, f"{point}:{nth}", "--epoch", "0.05", "--processes", "2") == 3
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)


def test_kills_while_a_run_is_laid_out_and_called_finished_change_nothing(shop: Path, tmp_path: Path) -> None:
    """Before, at and after the manifest's first and last writing; each start goes on from where the last one died."""
    folder = copy_of(shop, tmp_path / "shop")
    for point in ("begin", "manifest-before", "manifest-after", "manifest-before", "manifest-after"):
        assert killed_at(folder, f"{point}:1") == -signal.SIGKILL, point
    found = replay(folder)
    assert (found["status"], found["records"]) == ("already finished", 0)
    assert outcomes(folder) == outcomes(shop)


def killed_at(folder: Path, fault: str, *options: str) -> int:
    """Run with a fault, through more than a hundred epochs if it is not met; the exit code."""
    done = flowops("replay", "--project", folder, *options, env=slowly(0.01, chunk=1 << 13, fault=fault))
    if done.returncode == 3:
        assert "was killed (SIGKILL)" in done.stderr
        assert "the same command goes on" in done.stderr
    return done.returncode


def test_the_death_of_one_worker_ends_the_run_with_a_reason(shop: Path, tmp_path: Path) -> None:
    """The parent notices, stops and reaps the other, says why, exits with 3; the same command goes on."""
    folder = copy_of(shop, tmp_path / "shop")
    with started(folder, "--epoch", "0.1", "--processes", "2", slow=0.02) as process:
        assert wait_for(has_read(folder, 3_000), process)
        workers = workers_of(process)
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 3
        assert said == (
            "flowops: worker 1 of 2 was killed (SIGKILL); all were stopped. The state is kept: the same command goes on"
            " from the last epoch.\n"
        )
        assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()], "all have been reaped"
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)


def test_workers_stop_when_their_parent_has_died(shop: Path, tmp_path: Path) -> None:
    """Nobody would publish what they do. Their state is saved, and the same command goes on, also in one process."""
    folder = copy_of(shop, tmp_path / "shop")
    with started(folder, "--epoch", "0.1", "--processes", "2", slow=0.02) as process:
        assert wait_for(has_read(folder, 3_000), process)
        workers = workers_of(process)
        process.kill()
        assert wait_for(lambda: not any(Path(f"/proc/{worker}/exe").exists() for worker in workers), seconds=30)
    assert replay(folder)["resumed"]
    assert resumed_from(folder)[-1] > 1
    assert outcomes(folder) == outcomes(shop)


@pytest.mark.parametrize("processes", [2, 3])
def test_the_number_of_processes_changes_nothing(shop: Path, tmp_path: Path, processes: int) -> None:
    """S7: one, two or three workers."""
    folder = copy_of(shop, tmp_path / "shop")
    replay(folder, "--processes", str(processes))
    assert outcomes(folder) == outcomes(shop)


def test_the_number_of_processes_may_change_while_a_run_is_under_way(shop: Path, tmp_path: Path) -> None:
    """The state belongs to shards and readers, not to processes."""
    folder = copy_of(shop, tmp_path / "shop")
    for processes in (3, 2):
        assert kill_after(folder, 3_000, "--epoch", "0.1", "--processes", str(processes), slow=0.02)
    assert replay(folder)["resumed"]
    assert resumed_from(folder)[-1] > 1
    assert outcomes(folder) == outcomes(shop)
