"""The logs of the state folder: how large they grow beside what they hold."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flowops.core.records import SHARDS
from flowops.core.state import FORMAT
from flowops.streaming import statelog
from flowops.streaming.statefolder import Manifest, StateFolder
from flowops.streaming.statelog import StateLog

HELD = 100
"""Bytes of what each log holds."""


@pytest.mark.parametrize("changed", [0.02, 0.1, 0.3, 1.0])
def test_logs_that_grow_alike_stay_of_one_size_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: float
) -> None:
    """They are not all rewritten at once, whatever part of them changes in an epoch."""
    monkeypatch.setattr(statelog, "_SMALL", 0)
    logs = [StateLog(tmp_path, number) for number in range(SHARDS)]
    frame = b"x" * int(HELD * changed)
    sizes: list[int] = []
    rewritten: list[int] = []
    for _ in range(240):
        due = [log.wants_rewrite() for log in logs]
        for log, is_due in zip(logs, due, strict=True):
            if is_due or not sizes:
                log.rewrite(b"x" * HELD)
            else:
                log.append(frame)
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
        rewritten.append(sum(due))
    for log in logs:
        log.close()
    settled = sizes[120:]
    assert max(settled) < 1.25 * min(settled)
    assert 0 < max(rewritten[120:]) <= SHARDS // 4


def test_the_recovery_store_has_small_pages_and_write_ahead_logs(tmp_path: Path) -> None:
    """Its logs, which the runtime lets grow to a thousand pages each, stay small; no two workers have to make one."""
    folder = StateFolder(tmp_path / "state")
    folder.begin(Manifest(FORMAT, "run", None, {}, {}, None))
    parts = sorted(folder.store.iterdir())
    assert len(parts) == 4
    for part in parts:
        with closing(sqlite3.connect(part)) as connection:
            assert connection.execute("pragma page_size").fetchone() == (1024,)
            assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
            assert connection.execute("select count(*) from parts").fetchone() == (1,)
