"""Asked to stop, the engine saves its state and ends well; the same command goes on with equal outcomes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from project import copy_of, has_read, outcomes, replay, started, wait_for, workers_of


@pytest.mark.parametrize("processes", [1, 2])
def test_a_replay_that_was_asked_to_stop_goes_on(shop: Path, tmp_path: Path, processes: int) -> None:
    """SIGTERM: exit 0, what waits is stated, and the same command is named."""
    folder = copy_of(shop, tmp_path / "shop")
    with started(folder, "--processes", str(processes), slow=0.05 * processes) as process:
        assert wait_for(has_read(folder, 3_000), process)
        process.terminate()
        said, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (0, "")
    assert said.startswith("Stopped: read ")
    assert "The same command goes on from here: flowops replay" in said
    before = outcomes(folder)
    assert 0 < before["triggers"][0] < outcomes(shop)["triggers"][0], "what was landed is shown"
    assert before["pending"][0] > 0
    found = replay(folder, "--processes", str(processes))
    assert found["resumed"]
    assert 0 < found["records"] < 17_000
    assert outcomes(folder) == outcomes(shop)


def test_ctrl_c_reaches_all_processes_and_stops_them_well(shop: Path, tmp_path: Path) -> None:
    """A terminal sends it to the whole group, twice if the user is impatient."""
    folder = copy_of(shop, tmp_path / "shop")
    with started(folder, "--processes", "2", slow=0.04) as process:
        assert wait_for(has_read(folder, 3_000), process)
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGINT)
        said, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (0, "")
    assert said.startswith("Stopped: read ")
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)


def test_a_stop_that_comes_while_workers_start_is_not_lost(shop: Path, tmp_path: Path) -> None:
    """They are told as soon as they can hear it."""
    folder = copy_of(shop, tmp_path / "shop")
    with started(folder, "--processes", "2", slow=0.02) as process:
        assert wait_for(lambda: len(workers_of(process)) == 2, process)
        process.terminate()
        said, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (0, "")
    assert said.startswith("Stopped: read 0 records")
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)
