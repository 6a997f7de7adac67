"""The journal of what providers said: it stays bounded, and no crash or restart loses an answer (S32, S40)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from project import FLOWOPS, SIMPLE, write_project

from channels.desk import command
from flowops.channels.base import ACCEPTED, WRITERS
from flowops.channels.courier import wall_clock
from flowops.errors import StateError
from flowops.sources import Partition
from flowops.streaming import journal
from flowops.streaming.inputs import Inputs
from flowops.streaming.job import load_job
from flowops.streaming.journal import NAME, Journal, Journals, segments, with_journal
from flowops.streaming.pace import READERS, Pace
from flowops.streaming.readers import Readers
from flowops.streaming.statefolder import StateFolder

Open = Callable[..., Partition]

LARGE = 1000
"""Of a segment in these tests: some seven answers."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LARGE", LARGE)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path / "state")
    state.path.mkdir()
    state.begin_pace(writers=False)
    return state


@pytest.fixture
def job(tmp_path: Path) -> Any:
    (write_project(tmp_path, {"simple": SIMPLE}, FLOWOPS) / "data" / "web.jsonl").touch()
    return load_job(tmp_path)


@pytest.fixture
def journals(job: Any, state: StateFolder) -> Journals:
    return Journals(state.journal, with_journal(job.project).sources[-1])


def say(writer: Journal, numbers: range, at_once: int = 3) -> list[int]:
    """A few answers an epoch; where the journal stood after each."""
    saved = []
    for first in range(numbers.start, numbers.stop, at_once):
        writer.append(
            [(command(number), ACCEPTED) for number in range(first, min(first + at_once, numbers.stop))], wall_clock()
        )
        saved.append(writer.save())
    return saved


def written(state: StateFolder, count: int) -> list[int]:
    """A journal with so many answers, by a writer that has stopped; where it stood after each epoch."""
    writer = Journal(state.journal, 1, 0)
    saved = say(writer, range(count))
    writer.close()
    return saved


def heard(partition: Partition, limit: int = 1 << 20) -> list[int]:
    """The numbers of the answers to come. Their records are consecutive, from where the partition stands."""
    found: list[int] = []
    at = partition.position()[1]
    while (chunk := partition.read(limit)) is not None:
        assert chunk.first == at
        found += [int(row.p0[2:24], 16) for row in chunk.rows]  # type: ignore[union-attr]
        at = chunk.end
        assert partition.position()[1] == at
    return found


def begins(state: StateFolder) -> list[int]:
    return [begin for begin, _ in segments(state.journal, 1)]


def test_a_journal_is_written_in_segments_that_end_with_a_line_and_read_as_one(
    state: StateFolder, journals: Journals
) -> None:
    length = written(state, 100)[-1]
    found = segments(state.journal, 1)
    assert len(found) > 5
    for (begin, path), (end, _) in pairwise(found):
        assert LARGE < end - begin == path.stat().st_size < 2 * LARGE
        assert path.read_bytes().endswith(b"}\n")
    for limit in (1, 200, 1 << 20):
        partition = journals.open("writer-1", None)
        assert heard(partition, limit) == list(range(100))
        assert partition.position() == (length, 100)
        assert partition.caught_up_at() is not None
        partition.close()


def test_a_reader_that_waits_at_the_end_goes_on_in_the_next_segment(state: StateFolder, journals: Journals) -> None:
    """Also where the segment grew between its last look and the next one's beginning."""
    writer = Journal(state.journal, 1, 0)
    partition = journals.open("writer-1", None)
    said = 0
    for count in (0, 1, 7, 8, 0, 30, 2, 9):
        say(writer, range(said, said + count))
        assert heard(partition) == list(range(said, said + count))
        partition.release()
        said += count
    assert len(begins(state)) > 3
    partition.close()
    writer.close()


def test_what_was_never_committed_is_cut_off_also_where_it_lies_in_later_segments(
    state: StateFolder, journals: Journals
) -> None:
    """At any epoch: within a segment, at its end, in the first."""
    saved = written(state, 60)
    assert len(begins(state)) > 4
    for epoch in (18, 17, 11, 10, 9, 8, 1, 0):
        again = Journal(state.journal, 1, saved[epoch])
        assert begins(state)[-1] <= saved[epoch]
        kept = 3 * epoch + 3
        say(again, range(kept, kept + 1), at_once=1)
        again.close()
        partition = journals.open("writer-1", None)
        assert heard(partition) == list(range(kept + 1))
        partition.close()
    Journal(state.journal, 1, 0).close()
    assert [path.read_bytes() for _, path in segments(state.journal, 1)] == [b""]


def test_a_reader_goes_on_from_a_place_in_an_earlier_segment(state: StateFolder, journals: Journals) -> None:
    """Wherever it stood; what is read once more is cut at the same lines, and has the same positions."""
    written(state, 40)
    first = journals.open("writer-1", None)
    places = [first.position()]
    while first.read(1) is not None:
        places.append(first.position())
    first.close()
    assert len(places) == 41
    for place in places:
        partition = journals.open("writer-1", list(place))
        assert heard(partition) == list(range(place[1], 40))
        assert partition.position() == places[-1]
        partition.close()


def test_a_segment_is_removed_only_when_what_follows_it_was_committed(state: StateFolder, journals: Journals) -> None:
    """Of what the readers may still ask for after a crash nothing is missing, at any time; and the rest is gone."""
    writer = Journal(state.journal, 1, 0)
    partition = journals.open("writer-1", None)
    committed: list[Sequence[int]] = []
    said = 0
    sizes = []
    for _ in range(60):
        say(writer, range(said, said + 4), at_once=4)
        said += 4
        heard(partition)
        if committed:
            partition.saved(committed[-1])
        committed.append(partition.position())
        for place in committed[-2:]:  # of the last epoch, or of the one before, if the last is not committed
            again = journals.open("writer-1", place)
            assert heard(again) == list(range(place[1], said))
            again.close()
        sizes.append(sum(path.stat().st_size for _, path in segments(state.journal, 1)))
    assert begins(state)[0] > 20 * LARGE
    assert max(sizes) < 5 * LARGE
    partition.close()
    writer.close()


def test_a_segment_that_was_read_and_not_removed_before_a_crash_is_removed_after_it(
    state: StateFolder, journals: Journals
) -> None:
    length = written(state, 60)[-1]
    partition = journals.open("writer-1", (length, 60))
    for _ in range(10):  # a look that came before the writer's would find what is cut off then
        partition.saved((length, 60))
    assert begins(state)[0] == 0
    assert heard(partition) == []
    for _ in range(3):
        partition.saved((length, 60))
    assert begins(state) == [segments(state.journal, 1)[-1][0]]
    assert begins(state)[0] > 5 * LARGE
    partition.close()


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_segment_that_is_missing_is_refused(state: StateFolder, journals: Journals, which: str) -> None:
    writer = Journal(state.journal, 1, 0)
    length = say(writer, range(60))[-1]
    writer.append([(command(60), ACCEPTED)], wall_clock())
    length = writer.save()
    writer.close()
    found = segments(state.journal, 1)
    found[{"first": 0, "middle": 2, "last": -1}[which]][1].unlink()
    if which == "first":  # a writer cannot know what readers still need
        partition = journals.open("writer-1", None)
        with pytest.raises(StateError, match="has no part of the journal of writer 1 with its byte 0: put it back"):
            partition.read(1)
        return
    with pytest.raises(StateError, match=rf"{'0' * 12}\d+\.jsonl has \d+ bytes where \d+ were written: put it back"):
        Journal(state.journal, 1, length)


def test_a_journal_that_is_missing_is_refused(state: StateFolder) -> None:
    with pytest.raises(StateError, match="has no part of the journal of writer 1 with its byte 200: put it back"):
        Journal(state.journal, 1, 200)


def test_a_journal_does_not_grow_while_a_run_goes_on(job: Any, state: StateFolder, journals: Journals) -> None:
    """The readers as the engine drives them: an epoch is committed when the next one begins; with restarts."""
    inputs = Inputs(with_journal(job.project), job.folder, {}, follow=True, own={NAME: journals})
    source = Readers(inputs, state, lambda: False)
    pace = Pace(state.pace)
    states: list[Any] = [None] * READERS
    lengths = [0] * WRITERS
    told, sizes = 0, []
    for _ in range(3):
        writers = [Journal(state.journal, number, length) for number, length in enumerate(lengths)]
        readers = [source.build_part("", f"reader-{number}", known) for number, known in enumerate(states)]
        for _ in range(20):
            for writer in writers:
                say(writer, range(told, told + 5), at_once=5)
                told += 5
            for number, reader in enumerate(readers):
                for lane in reader._lanes:
                    lane.poll_at = 0.0
                for _ in range(8):
                    if reader._announced:  # it has no partition, and has said so
                        break
                    reader.next_batch()
                    pace.report_shard(number, reader._sent, 0, 0, 0)  # nobody consumes, but that counts as done
            states = [reader.snapshot() for reader in readers]
            lengths = [writer.save() for writer in writers]
            sizes.append(sum(path.stat().st_size for path in state.journal.iterdir()))
        for each in [*readers, *writers]:
            each.close()
    saved = {key: known[0] for state in states for key, known in state[1].items()}
    assert [saved[f"{NAME}/writer-{number}"][0] for number in range(WRITERS)] == lengths
    assert sum(saved[f"{NAME}/writer-{number}"][1] for number in range(WRITERS)) == told
    assert min(lengths) > 30 * LARGE
    assert max(sizes) < 7 * LARGE * WRITERS
