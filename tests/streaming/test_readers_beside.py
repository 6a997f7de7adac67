"""Analysts query while the engine writes: no lock, no error, and never half an epoch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from project import command, outcomes, slowly, write_events, write_project

READER = """
import json, sys, time
from pathlib import Path
import duckdb

outcomes, stop = Path(sys.argv[1]), Path(sys.argv[2])
seen, looks = [], 0
while not stop.exists():
    if not outcomes.exists():
        time.sleep(0.01)
        continue
    with duckdb.connect(str(outcomes), read_only=True) as connection:
        torn = connection.execute('''
            select count(*) from dispatches d full join (select * from outcomes where stage = 'delivered') o
            using (dispatch_id) where d.dispatch_id is null or o.dispatch_id is null''').fetchone()[0]
        lost = connection.execute('''
            select count(*) from (from goal_events where dispatch_id is not null)
            anti join dispatches using (dispatch_id)''').fetchone()[0]
        assert (torn, lost) == (0, 0), (torn, lost)
        count = connection.execute("select count(*) from triggers").fetchone()[0]
        if not seen or seen[-1] != count:
            seen.append(count)
    looks += 1
    time.sleep(0.05)
print(json.dumps([looks, seen]))
"""


def test_three_readers_see_whole_epochs_of_a_running_engine(tmp_path: Path) -> None:
    """Each look sees every dispatch with its outcome, no goal event before its dispatch, and never less than before."""
    folder = write_project(tmp_path / "shop")
    write_events(folder, 250_000, 15_000, 2)
    stop = tmp_path / "stop"
    path = folder / "warehouse" / "outcomes.duckdb"
    asked = [sys.executable, "-c", READER, str(path), str(stop)]
    readers = [subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    try:
        env = {**os.environ, **slowly(0.002)}  # so that it lasts for some publications
        done = subprocess.run(command(folder, "--epoch", "0.2"), capture_output=True, timeout=480, check=False, env=env)
    finally:
        stop.touch()
        said = [reader.communicate(timeout=60) for reader in readers]
    assert done.returncode == 0, done.stderr.decode()
    triggers = outcomes(folder)["triggers"][0]
    for reader, (out, error) in zip(readers, said, strict=True):
        assert reader.returncode == 0, error.decode()
        looks, seen = json.loads(out)
        assert looks > 1
        assert seen == sorted(seen)
        assert seen[-1] <= triggers
    assert max(len(json.loads(out)[1]) for out, _ in said) > 1, "nobody saw the outcomes grow"
