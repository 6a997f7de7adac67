"""What readers hold back: on Kafka partitions that are far apart in event time (S6)."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from project import FLOWOPS, SIMPLE, write_project

from flowops.core.records import NO_WATERMARK, LateRecord
from flowops.streaming import readers
from flowops.streaming.inputs import Inputs
from flowops.streaming.job import load_job
from flowops.streaming.pace import AHEAD, READERS, Pace
from flowops.streaming.readers import HEARD, Readers
from flowops.streaming.statefolder import StateFolder
from servers.kafka import Broker

MINUTE = 60_000
MakeDriven: TypeAlias = Callable[[int], "Driven"]


class Driven:
    """The readers of a topic, driven by hand. Nobody consumes, but that counts as done."""

    def __init__(self, folder: Path, broker: Broker, topic: str, partitions: int) -> None:
        self.state = StateFolder(folder / "state")
        self.state.path.mkdir()
        self.topic = broker.create_topic(topic, partitions=partitions)
        self.producer = broker.producer()
        source = f"kafka: {{topic: {topic}, brokers: '{broker.bootstrap}'}}"
        job = load_job(write_project(folder, {"simple": SIMPLE}, FLOWOPS.replace("file: data/*.jsonl", source)))
        asked = Inputs(job.project, folder, job.config.connections, follow=True)
        self.inputs = Inputs(job.project, folder, job.config.connections, follow=True, bounds=asked.bounds())
        self.source = Readers(self.inputs, self.state, lambda: False)
        self.readers: list[Any] = []
        self.start([None] * READERS)

    def start(self, states: Sequence[Any]) -> None:
        """Begin, or go on from what was saved."""
        self.close()
        self.state.begin_pace(writers=False)
        self.pace = Pace(self.state.pace)
        self.readers = [self.source.build_part("", f"reader-{n}", state) for n, state in enumerate(states)]
        self.watermarks = [NO_WATERMARK] * READERS
        self.read = [0] * READERS
        self.late: list[LateRecord] = []

    def save(self) -> list[Any]:
        """The end of an epoch."""
        return [reader.snapshot() for reader in self.readers]

    def send(self, partition: int, times: range) -> None:
        for number in times:
            record = {"user_id": f"u{number}", "event": "product_view", "ts": number, "sku": "A"}
            self.producer.produce(self.topic, value=json.dumps(record).encode(), partition=partition)
            self.producer.poll(0)
        assert self.producer.flush(60) == 0

    def turn(self) -> int:
        """A turn of each reader; how many records came."""
        came = 0
        for number, reader in enumerate(self.readers):
            if reader._announced:  # it has no partition, and has said so
                continue
            for _, batch in reader.next_batch():
                assert batch.watermark >= self.watermarks[number]
                self.watermarks[number] = batch.watermark
                self.read[number] += len(batch.records)
                self.late += batch.late
                came += len(batch.records)
            self.pace.report_shard(number, reader._sent, 0, 0, 0)
        return came

    def until(self, what: Callable[[], object]) -> None:
        """Turns, until it holds."""
        end = time.monotonic() + 60
        while not what():
            assert time.monotonic() < end
            self.turn()

    def until_quiet(self) -> None:
        """Until nothing has come for a while."""
        last = time.monotonic()
        while time.monotonic() < last + 1:
            if self.turn():
                last = time.monotonic()

    def close(self) -> None:
        for reader in self.readers:
            reader.close()


@pytest.fixture
def driven(tmp_path: Path, kafka_broker: Broker, unique_name: str) -> Iterator[MakeDriven]:
    made: list[Driven] = []

    def make(partitions: int) -> Driven:
        made.append(Driven(tmp_path, kafka_broker, unique_name, partitions))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("other", [1, 8])
def test_a_long_partition_waits_for_one_that_has_nothing_to_read(
    driven: MakeDriven, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another reader (1) or the same (8): what shards must hold stays bounded till time moves on; then all comes."""
    monkeypatch.setattr(readers, "_TICK", float("inf"))
    run = driven(9)
    count = 2 * AHEAD * HEARD
    run.send(0, range(10))
    run.send(other, range(MINUTE, MINUTE + count))
    for partition in set(range(1, 9)) - {other}:
        run.send(partition, range(10))
    run.until(lambda: run.read[other % READERS] > HEARD)
    run.until_quiet()
    read = run.read[other % READERS]
    assert read <= (AHEAD + 1) * HEARD
    monkeypatch.setattr(readers, "_TICK", 0.1)
    for reader in run.readers:
        reader._tick_at = 0.0
    run.until(lambda: sum(run.read) == count + 80)


def test_time_stands_until_each_partition_is_known_to_have_been_read(driven: MakeDriven) -> None:
    """S6: also of one without records; then it moves on with the clock, less the bound."""
    run = driven(2)
    run.send(0, range(10))
    assert [lane.partition.caught_up_at() for lane in run.readers[1]._lanes] == [None]
    run.turn()
    assert run.watermarks[1] == NO_WATERMARK
    began = time.time_ns() // 1000
    run.until(lambda: min(run.watermarks[:2]) > began - 5_000_000)
    assert max(run.watermarks[:2]) <= time.time_ns() // 1000 - 5_000_000


@pytest.mark.parametrize("saved", [True, False])
def test_what_the_clock_moved_is_moved_again_by_a_run_that_goes_on(driven: MakeDriven, saved: bool) -> None:
    """S6: before the same record, though both lie there now: so the same one is late. Also where no epoch was saved."""
    run = driven(1)
    run.send(0, range(3))
    run.until(lambda: run.read[0] == 3)
    states = run.save() if saved else [None] * READERS
    for number in (3, 4):
        before = time.time_ns() // 1000
        run.until(lambda before=before: run.watermarks[0] > before - 5_000_000)
        run.send(0, range(number, number + 1))
        run.until(lambda number=number: len(run.late) == number - 2)
    late = run.late
    assert [note.ts for note in late] == [3_000, 4_000]
    assert late[0].watermark < late[1].watermark
    later = run.save()
    kept = shutil.copytree(run.state.clock, run.state.path / "kept")

    run.start(states)
    run.until(lambda: run.read[0] == (2 if saved else 5))
    assert run.late == late
    run.save()
    again = run.save()
    run.start(again)
    run.send(0, range(5, 6))
    run.until(lambda: run.late)
    assert run.late[0].watermark >= late[1].watermark

    shutil.rmtree(run.state.clock)
    kept.rename(run.state.clock)
    run.start(later)
    run.until(lambda: run.late)
    assert [note.ts for note in run.late] == [5_000]


def test_numbers_and_owners_stay_when_partitions_are_added(driven: MakeDriven) -> None:
    """S7: a number is of the source and the place within it; an added partition's reader has one already."""
    run = driven(3)
    bounds = run.inputs.bounds()
    assert bounds == {"web": {f"{run.topic}[{number}]": () for number in range(3)}}
    run.inputs._connectors["web"]._client.partition_count = 8
    specs = list(run.inputs.partitions())
    assert [spec.number for spec in specs] == list(range(8))
    assert [run.inputs._owner(spec) for spec in specs] == [0, 1, 2, 0, 1, 2, 0, 1]
