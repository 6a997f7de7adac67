"""The same dataflow under Bytewax's own runner: `python -m bytewax.run dataflows/trigger_engine.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from project import copy_of, last_segment, outcomes, slowly, wait_for

ENGINE = Path(__file__).parents[2] / "dataflows" / "trigger_engine.py"


def start(folder: Path, *options: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bytewax.run", str(ENGINE), *options],
        env={**os.environ, "FLOWOPS_PROJECT": str(folder), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    said, complaint = process.communicate(timeout=120)
    return process.returncode, said, complaint


def test_it_equals_a_replay_and_then_says_that_it_has_finished(shop: Path, tmp_path: Path) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    assert ended(start(folder)) == (0, "", "")
    assert outcomes(folder) == outcomes(shop)
    code, said, complaint = ended(start(folder))
    assert (code, complaint) == (0, "")
    assert said.startswith("This replay has already finished")
    assert outcomes(folder) == outcomes(shop)


def test_with_recovery_it_goes_on_after_a_kill(shop: Path, tmp_path: Path) -> None:
    """`-r` names the store in the state folder; two worker threads do no harm."""
    folder = copy_of(shop, tmp_path / "shop")
    recovery = ("-r", str(folder / ".flowops" / "recovery"), "-s", "1", "-b", "0")
    process = start(folder, *recovery, env=slowly(0.05))
    assert wait_for(lambda: last_segment(folder) >= 2, process)
    process.kill()
    ended(process)
    assert ended(start(folder, *recovery, "-w", "2")) == (0, "", "")
    assert outcomes(folder) == outcomes(shop)


def test_without_recovery_it_begins_anew_after_a_kill(shop: Path, tmp_path: Path) -> None:
    """And what the first attempt left is gone."""
    folder = copy_of(shop, tmp_path / "shop")
    process = start(folder, env=slowly(0.05))
    assert wait_for((folder / "out" / "push.jsonl").exists, process)
    process.kill()
    ended(process)
    assert ended(start(folder)) == (0, "", "")
    assert outcomes(folder) == outcomes(shop)


def test_a_run_that_failed_is_not_called_finished(shop: Path, tmp_path: Path) -> None:
    """The runtime closes sinks on its way out, too."""
    folder = copy_of(shop, tmp_path / "shop")
    recovery = ("-r", str(folder / ".flowops" / "recovery"), "-s", "1", "-b", "0")
    process = start(folder, *recovery, env={**slowly(0.02), "FLOWOPS_TEST_BREAK": "5"})
    code, _, complaint = ended(process)
    assert code == 1
    assert "broken for a test" in complaint
    assert ended(start(folder, *recovery)) == (0, "", "")
    assert outcomes(folder) == outcomes(shop)


def test_what_cannot_be_run_is_said_in_a_sentence(tmp_path: Path) -> None:
    code, said, complaint = ended(start(tmp_path))
    assert (code, said) == (2, "")
    assert complaint.startswith(f"flowops: no flowops.yaml in {tmp_path} or any folder above it")
    assert "Traceback" not in complaint
