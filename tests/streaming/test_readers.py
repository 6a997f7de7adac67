"""What readers hold back: on Kafka partitions that are far apart in event time (S6)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from project import FLOWOPS, SIMPLE, write_project

from flowops.core.records import NO_WATERMARK
from flowops.streaming.inputs import Inputs
from flowops.streaming.job import load_job
from flowops.streaming.pace import AHEAD, READERS, Pace
from flowops.streaming.readers import HEARD, Readers
from servers.kafka import Broker

MINUTE = 60_000


class Driven:
    """The readers of a topic, driven by hand. Nobody consumes, but that counts as done."""

    def __init__(self, folder: Path, broker: Broker, topic: str, partitions: int) -> None:
        self.topic = broker.create_topic(topic, partitions=partitions)
        self.producer = Producer({**broker.client_config, "log_level": 0})
        source = f"kafka: {{topic: {topic}, brokers: '{broker.bootstrap}'}}"
        job = load_job(write_project(folder, {"simple": SIMPLE}, FLOWOPS.replace("file: data/*.jsonl", source)))
        Pace.create(folder / "pace")
        self.pace = Pace(folder / "pace")
        asked = Inputs(job.project, folder, job.config.connections, follow=True)
        self.inputs = Inputs(job.project, folder, job.config.connections, follow=True, bounds=asked.bounds())
        self.source = Readers(self.inputs, folder / "pace", lambda: False)
        self.readers = [self.source.build_part("", f"reader-{number}", None) for number in range(READERS)]
        self.watermarks = [NO_WATERMARK] * READERS
        self.read = [0] * READERS

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
                came += len(batch.records)
            self.pace.report_shard(number, reader._sent, 0, 0, 0)
        return came

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
def driven(tmp_path, kafka_broker, unique_name):
    made = []

    def make(partitions: int) -> Driven:
        made.append(Driven(tmp_path, kafka_broker, unique_name, partitions))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("other", [1, 8])
def test_a_long_partition_waits_for_one_that_has_nothing_to_read(driven, other: int) -> None:
    """In another reader (1) or the same (8): what shards must hold stays bounded till time moves on; then all comes."""
    run = driven(9)
    count = 2 * AHEAD * HEARD
    run.send(0, range(10))
    run.send(other, range(MINUTE, MINUTE + count))
    for partition in set(range(1, 9)) - {other}:
        run.send(partition, range(10))
    run.until_quiet()
    read = run.read[other % READERS]
    assert HEARD < read <= (AHEAD + 1) * HEARD
    end = time.monotonic() + 60
    while sum(run.read) < count + 80:
        assert time.monotonic() < end
        for reader in run.readers:  # the end of an epoch: the clock moves those on that were read to their end
            reader.snapshot()
        run.until_quiet()
    assert sum(run.read) == count + 80


def test_time_stands_until_each_partition_is_known_to_have_been_read(driven) -> None:
    """S6: also of one without records; then it moves on with the clock, less the bound."""
    run = driven(2)
    run.send(0, range(10))
    assert [lane.partition.caught_up_at() for lane in run.readers[1]._lanes] == [None]
    run.readers[1].snapshot()
    run.turn()
    assert run.watermarks[1] == NO_WATERMARK
    end = time.monotonic() + 30
    while not all(lane.partition.caught_up_at() for reader in run.readers for lane in reader._lanes):
        assert time.monotonic() < end
        run.turn()
    for reader in run.readers:
        reader.snapshot()
    now = time.time_ns() // 1000
    run.turn()
    assert all(now - 20_000_000 < watermark <= now - 5_000_000 for watermark in run.watermarks[:2])


def test_numbers_and_owners_stay_when_partitions_are_added(driven) -> None:
    """S7: a number is of the source and the place within it; an added partition's reader has one already."""
    run = driven(3)
    bounds = run.inputs.bounds()
    assert bounds == {"web": {f"{run.topic}[{number}]": () for number in range(3)}}
    run.inputs._connectors["web"]._client.partition_count = 8
    specs = list(run.inputs.partitions())
    assert [spec.number for spec in specs] == list(range(8))
    assert [run.inputs._owner(spec) for spec in specs] == [0, 1, 2, 0, 1, 2, 0, 1]
