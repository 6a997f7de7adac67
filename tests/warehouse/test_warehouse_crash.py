"""Readers beside a writer, and writers that are killed: no lock, no torn epoch, nothing lost, nothing twice."""

import itertools
import os
import random
import shutil
import signal
import time
from pathlib import Path

from forked import PROCESSES
from warehouse_facts import ask, columns, decision, goal_event

from flowops.warehouse.compact import compact
from flowops.warehouse.outcomes import connect, publish
from flowops.warehouse.segments import Segments, root

TORN = """
    select coalesce(d.version, g.version) as epoch, d.n, g.n
    from (select version, count(*) as n from facts.decisions group by all) d
    full join (select version, count(*) as n from facts.goal_facts group by all) g using (version)
    where d.n is distinct from g.n
"""


def rows_of(epoch):
    """How many rows an epoch has in each of two relations."""
    return epoch % 5 + 1


def add_epoch(segments, epoch):
    ids = [f"{epoch}-{row}" for row in range(rows_of(epoch))]
    segments.add("decisions", columns([decision(trigger_id=i, version=str(epoch)) for i in ids]))
    segments.add("goal_facts", columns([goal_event(trigger_id=i, version=str(epoch)) for i in ids]))


class Record:
    """What a snapshot remembers, in a file that is replaced as a whole: (epochs done, segments sealed)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[int, int]:
        if not self.path.exists():
            return 0, 0
        done, sealed = self.path.read_text().split()
        return int(done), int(sealed)

    def write(self, done: int, sealed: int) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_text(f"{done} {sealed}")
        beside.replace(self.path)


def run(folder: Path, record: Record, epochs: int) -> None:
    """An engine in small: seal, remember, and publish what is remembered; small segments are merged now and then."""
    done, sealed = record.read()
    segments = Segments(folder, sealed)
    for epoch in range(done, epochs):
        add_epoch(segments, epoch)
        sealed = segments.seal()
        record.write(epoch + 1, sealed)
        publish(folder, sealed)
        compact(folder, sealed, many=2, grace=0.0)
    publish(folder, sealed)


CALLS = ("rename", "replace", "fsync", "rmdir")


def killed_run(folder: Path, record: Record, epochs: int, nth: int) -> None:
    """`run`, killed at the nth of its calls that change what the disk holds."""
    calls = 0

    def counted(call):
        def wrapper(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    run(folder, record, epochs)


def check_complete(folder: Path, epochs: int) -> None:
    expected = [(f"{epoch}-{row}", 1) for epoch in range(epochs) for row in range(rows_of(epoch))]
    assert ask(folder, "select trigger_id, count(*) from facts.decisions group by 1 order by 1") == sorted(expected)
    assert ask(folder, "select trigger_id, count(*) from facts.goal_facts group by 1 order by 1") == sorted(expected)
    assert ask(folder, TORN) == []
    assert sorted(path.name for path in folder.iterdir()) == ["outcomes.duckdb", "segments"]
    assert not [path.name for path in root(folder).iterdir() if path.name.startswith(".")]


def test_a_writer_killed_at_any_change_of_the_disk_loses_and_repeats_nothing(tmp_path):
    """At every single one: in the middle of seal, publish, merge, and the removal of what was merged."""
    before, epochs = tmp_path / "before", 5
    run(before / "warehouse", Record(before / "record"), epochs - 2)
    for nth in itertools.count(1):
        place = tmp_path / str(nth)
        shutil.copytree(before, place)
        folder, record = place / "warehouse", Record(place / "record")
        process = PROCESSES.Process(target=killed_run, args=(folder, record, epochs, nth))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        assert ask(folder, TORN) == [], "what is published is whole while the writer is dead"
        run(folder, record, epochs)
        check_complete(folder, epochs)
        if process.exitcode == 0:
            break
    assert nth > 15


def test_a_writer_killed_at_random_moments_loses_and_repeats_nothing(tmp_path):
    """From outside, wherever it happens to be."""
    folder, record, epochs, kills = tmp_path / "warehouse", Record(tmp_path / "record"), 30, 0
    moments = random.Random(3)
    while True:
        process = PROCESSES.Process(target=run, args=(folder, record, epochs))
        process.start()
        process.join(moments.uniform(0.15, 0.8) if kills < 8 else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        elif process.exitcode == 0:
            break
        else:
            assert process.exitcode == -signal.SIGKILL
    check_complete(folder, epochs)


def read_until(folder: Path, ended, results) -> None:
    """Connect anew and query joins over two relations, until the writer has ended."""
    rounds, torn, states = 0, [], []
    while not ended.is_set() or not rounds:
        with connect(folder) as connection:
            torn += connection.execute(TORN).fetchall()
            (segments,) = connection.execute("select segments from published").fetchone()
            joined = connection.execute("select count(*) from outcomes join goal_events using (trigger_id)").fetchall()
            assert joined == [(sum(rows_of(epoch) for epoch in range(segments)),)]
            states.append(segments)
        rounds += 1
    results.put((rounds, torn, states))


def test_three_readers_beside_a_writer_see_no_lock_and_no_torn_epoch(tmp_path):
    """Each connects, joins and leaves, again and again, while epochs are sealed, published and merged."""
    folder, epochs = tmp_path / "warehouse", 30
    publish(folder, 0)
    ended, results = PROCESSES.Event(), PROCESSES.Queue()
    readers = [PROCESSES.Process(target=read_until, args=(folder, ended, results)) for _ in range(3)]
    for reader in readers:
        reader.start()
    segments = Segments(folder)
    for epoch in range(epochs):
        add_epoch(segments, epoch)
        publish(folder, segments.seal())
        compact(folder, segments.sealed, many=10)
        time.sleep(0.01)
    ended.set()
    seen = [results.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    for rounds, torn, states in seen:
        assert torn == []
        assert rounds >= 3
        assert len(set(states)) >= 3, "readers see outcomes grow while they are written"
        assert states == sorted(states), "and never an older state after a newer one"
