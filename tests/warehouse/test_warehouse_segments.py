"""Segments: whole or not at all, cut back to what a snapshot knows, merged without a reader noticing."""

import random

import duckdb
import pyarrow.parquet as pq
import pytest
from warehouse_facts import NOON, ask, columns, decision, goal_event

from flowops.core.effects import Pending
from flowops.errors import ConfigError, RunError, StateError
from flowops.warehouse import segments as module
from flowops.warehouse.compact import compact
from flowops.warehouse.outcomes import connect, publish
from flowops.warehouse.segments import Segments, root, standing


def seal_epochs(folder, numbers, sealed=0):
    segments = Segments(folder, sealed)
    for number in numbers:
        segments.add("decisions", columns([decision(trigger_id=f"t{number}")]))
        if number % 2:
            segments.add("goal_facts", columns([goal_event(trigger_id=f"t{number}")]))
        segments.seal()
    return segments


def names(folder):
    return sorted(path.name for path in root(folder).iterdir())


def test_an_epoch_without_facts_has_no_segment(tmp_path):
    segments = Segments(tmp_path)
    assert segments.seal() == 0
    segments.add("decisions", [])
    segments.add("decisions", [[] for _ in decision()])
    assert segments.seal() == 0
    segments.add("decisions", columns([decision()]))
    assert segments.seal() == 1
    assert segments.seal() == 1
    assert names(tmp_path) == ["00000001"]


def test_what_is_under_way_is_seen_by_nobody(tmp_path):
    segments = seal_epochs(tmp_path, [1])
    segments.add("decisions", columns([decision(trigger_id="t2")]))
    publish(tmp_path, 1)
    assert ask(tmp_path, "select trigger_id from triggers") == [("t1",)]


def test_resume_cuts_back_to_what_the_snapshot_knows(tmp_path):
    """Epochs beyond it are played again; their segments and what was under way are removed, the count goes on."""
    segments = seal_epochs(tmp_path, range(1, 6))
    segments.add("decisions", columns([decision(trigger_id="lost")]))
    resumed = Segments(tmp_path, 3)
    assert names(tmp_path) == ["00000001", "00000002", "00000003"]
    resumed.add("decisions", columns([decision(trigger_id="again")]))
    assert resumed.seal() == resumed.sealed == 4
    publish(tmp_path, 4)
    assert ask(tmp_path, "select trigger_id from triggers order by 1") == [("again",), ("t1",), ("t2",), ("t3",)]


def test_a_missing_segment_is_refused_before_anything_is_removed(tmp_path):
    """A warehouse that does not belong to the state is not touched."""
    seal_epochs(tmp_path, range(1, 4))
    with pytest.raises(StateError, match="segment 4 of 5 is missing"):
        Segments(tmp_path, 5)
    with pytest.raises(StateError, match="segment 4 of 5 is missing"):
        publish(tmp_path, 5)
    assert names(tmp_path) == ["00000001", "00000002", "00000003"]


def test_memory_is_bounded_within_an_epoch(tmp_path, monkeypatch):
    """Rows go to the file as they come, not at the end of the epoch."""
    monkeypatch.setattr(module, "ROW_GROUP", 100)
    segments = Segments(tmp_path)
    for start in range(0, 1_000, 40):
        segments.add("decisions", columns([decision(trigger_id=f"t{n}") for n in range(start, start + 40)]))
    segments.seal()
    file = pq.ParquetFile(root(tmp_path) / "00000001" / "decisions.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [120] * 8 + [40]
    publish(tmp_path, 1)
    assert ask(tmp_path, "select count(distinct trigger_id) from triggers") == [(1_000,)]


def test_a_disk_that_refuses_is_said_clearly(tmp_path):
    (tmp_path / "warehouse").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot write the outcomes"):
        Segments(tmp_path / "warehouse")
    with pytest.raises(RunError, match="cannot write"):
        publish(tmp_path / "warehouse", 0)


def test_the_latest_statement_of_what_is_pending_counts(tmp_path):
    """S6: all that one run states adds up, over segments; a later run replaces it, also by stating nothing."""

    def pending():
        return ask(tmp_path, "select user_id, kind, epoch_us(due) from pending order by user_id")

    def waits(*users):
        return columns([Pending("reminder", "00000001", user, "wait", NOON, NOON + 1) for user in users])

    first = Segments(tmp_path)
    first.state_pending(waits("u1"))
    first.seal()
    first.state_pending(waits("u2"))
    publish(tmp_path, first.seal())
    assert pending() == [("u1", "wait", NOON + 1), ("u2", "wait", NOON + 1)]
    second = Segments(tmp_path, 2)
    second.add("decisions", columns([decision()]))
    publish(tmp_path, second.seal())
    assert len(pending()) == 2, "until it states anew, what was pending when the engine last stopped is shown"
    second.state_pending([])
    publish(tmp_path, second.seal())
    assert pending() == []
    third = Segments(tmp_path, 4)
    third.state_pending([])
    third.state_pending(waits("u3"))
    publish(tmp_path, third.seal())
    assert pending() == [("u3", "wait", NOON + 1)]


def test_merging_changes_nothing_that_can_be_read(tmp_path):
    """Small segments become one; a reader of the older file keeps reading until the grace period is over."""
    seal_epochs(tmp_path, range(1, 13))
    publish(tmp_path, 12)
    everything = "select * from outcomes order by trigger_id"
    before = ask(tmp_path, "select trigger_id, dispatch_id, stage, detail from outcomes order by trigger_id")
    with connect(tmp_path) as reader:
        assert not compact(tmp_path, 10, many=10), "ten are not more than ten"
        assert compact(tmp_path, 10, many=5)
        publish(tmp_path, 12)
        assert [s.path.name for s in standing(tmp_path, 12)] == ["00000001-00000010", "00000011", "00000012"]
        assert len(reader.sql(everything).fetchall()) == 12
        assert not compact(tmp_path, 10, many=5), "nothing left to merge, and within the grace period"
        assert len(reader.sql("select trigger_id from outcomes").fetchall()) == 12
    compact(tmp_path, 10, many=5, grace=-1.0)
    assert names(tmp_path) == ["00000001-00000010", "00000011", "00000012"]
    assert ask(tmp_path, "select trigger_id, dispatch_id, stage, detail from outcomes order by trigger_id") == before
    assert ask(tmp_path, "select count(*) from goal_events") == [(6,)]
    resumed = seal_epochs(tmp_path, [13], sealed=11)
    assert resumed.sealed == 12
    with pytest.raises(StateError, match="is missing"):
        Segments(tmp_path, 5)


def test_merged_segments_are_merged_again_but_never_grow_beyond_the_largest(tmp_path):
    segments = Segments(tmp_path)
    number = 0
    for _ in range(8):
        for _ in range(5):
            number += 1
            content = random.Random(number).randbytes(1_500).hex()
            segments.add("decisions", columns([decision(trigger_id=f"t{number}", content=content)]))
            segments.seal()
        compact(tmp_path, number, many=4, grace=-1.0, largest=40_000)
        compact(tmp_path, number, many=10**6, grace=-1.0)
    publish(tmp_path, number)
    assert ask(tmp_path, "select count(distinct trigger_id), count(*) from outcomes") == [(40, 40)]
    sizes = [sum(f.stat().st_size for f in s.path.iterdir()) for s in standing(tmp_path, number)]
    assert 1 < len(sizes) <= 12
    assert max(sizes) <= 40_000


def test_publishing_leaves_one_file(tmp_path):
    """What a killed publication left behind is removed by the next; old files do not pile up."""
    (tmp_path / ".outcomes.duckdb.new").write_bytes(b"torn")
    (tmp_path / ".outcomes.duckdb.new.wal").write_bytes(b"torn")
    for number in range(1, 4):
        seal_epochs(tmp_path, [number], sealed=number - 1)
        publish(tmp_path, number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outcomes.duckdb", "segments"]
    assert ask(tmp_path, "select segments from published") == [(3,)]


def test_a_reader_keeps_what_was_published_when_it_connected(tmp_path):
    """Two queries of one session agree; a new connection sees what is new."""
    seal_epochs(tmp_path, [1])
    publish(tmp_path, 1)
    with duckdb.connect(str(tmp_path / "outcomes.duckdb"), read_only=True) as reader:
        seal_epochs(tmp_path, [2], sealed=1)
        publish(tmp_path, 2)
        assert reader.execute("select count(*) from outcomes").fetchall() == [(1,)]
    assert ask(tmp_path, "select count(*) from outcomes") == [(2,)]


@pytest.mark.parametrize("fails", [True, False])
def test_who_connects_while_it_is_published_anew_connects_again(tmp_path, monkeypatch, fails):
    """DuckDB opens the file by its name several times: what it finds may be of two publications."""
    seal_epochs(tmp_path, [1])
    publish(tmp_path, 1)
    connecting = duckdb.connect
    attempts = []

    def meanwhile(*path, **options):
        if options.get("read_only"):
            attempts.append(path)
            if len(attempts) == 1:
                seal_epochs(tmp_path, [2], sealed=1)
                publish(tmp_path, 2)
                if fails:
                    raise duckdb.IOException("No more data remaining in MetadataReader")
        return connecting(*path, **options)

    monkeypatch.setattr(duckdb, "connect", meanwhile)
    with connect(tmp_path) as reader:
        assert reader.execute("select segments from published").fetchall() == [(2,)]
    assert len(attempts) == 2


def test_outcomes_that_are_damaged_are_refused_at_once(tmp_path):
    (tmp_path / "outcomes.duckdb").write_bytes(b"none" * 10_000)
    with pytest.raises(
        ConfigError, match=r"outcomes\.duckdb cannot be read: .*; the next epoch of a run writes it anew"
    ):
        connect(tmp_path)
