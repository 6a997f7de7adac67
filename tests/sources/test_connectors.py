"""What holds for every log that grows: a file that is followed, a Kafka partition, a Redis stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import msgspec
import pytest
from logs import FileLog, KafkaLog, Reading, StreamLog, view

from servers.kafka import Broker
from servers.redis import RedisServer
from servers.skip import running


@pytest.fixture(params=["file", "kafka", "redis", "redis json"])
def log(request, tmp_path):
    if request.param == "file":
        return FileLog(tmp_path)
    if request.param == "kafka":
        return KafkaLog(request.getfixturevalue("kafka_broker"))
    return StreamLog(request.getfixturevalue("redis_server"), "body" if request.param == "redis json" else None)


@pytest.fixture
def opened(log):
    """Opens the log's one partition at a position; all are closed in the end."""
    partitions = []

    def open_at(position=None) -> Reading:
        connector = log.connect()
        ((name, number),) = connector.partitions().items()
        assert number == 0
        partition = connector.open(name, position)
        assert partition.name == name
        partitions.append(partition)
        return Reading(partition)

    yield open_at
    for partition in partitions:
        partition.close()


def expected(numbers):
    return [(f"u{n % 7}", "view", None, n * 1_000_000, f"s{n}", None) for n in numbers]


def test_what_is_appended_is_read_once_and_in_its_order(log, opened):
    """S7: positions count up from 0, however much comes at a time."""
    reading = opened()
    assert reading.is_quiet()
    log.append(*map(view, range(100)))
    reading.rows_until(100, limit=1000)
    log.append(view(100))
    reading.rows_until(101)
    assert reading.is_quiet()
    assert reading.partition.lag() in (0, None)
    assert reading.rows == expected(range(101))
    assert reading.positions == list(range(101))
    assert not reading.dead


def test_reading_goes_on_at_a_position(log, opened):
    """Wherever it was broken off, also before anything was there."""
    first = opened()
    positions = [(0, first.partition.position())]
    log.append(*map(view, range(300)))
    while len(first.rows) < 300:
        if first.read(2000):
            positions.append((len(first.rows), first.partition.position()))
    for count, position in positions[1 :: max(1, len(positions) // 4)]:
        again = opened(msgspec.msgpack.decode(msgspec.msgpack.encode(position)))
        again.rows_until(300 - count) if count < 300 else None
        assert again.is_quiet(0.2)
        assert again.rows == expected(range(count, 300))
        assert again.positions == list(range(count, 300))


def test_it_is_caught_up_only_with_what_has_been_read(log, opened):
    """S6: an instant before which all that was appended has been read; it moves on while nothing comes."""
    reading = opened()
    assert reading.partition.caught_up_at() is None
    log.append(view(0))
    appended = time.time_ns() // 1000
    reading.until(lambda: (reading.partition.caught_up_at() or 0) > appended)
    assert len(reading.rows) == 1
    before = time.time_ns() // 1000
    time.sleep(0.02)
    log.append(view(1), view(2))
    time.sleep(1)  # whoever asks where it ends has asked
    assert reading.partition.caught_up_at() < before
    later = time.time_ns() // 1000
    reading.until(lambda: reading.partition.caught_up_at() > later)
    assert len(reading.rows) == 3


def test_what_cannot_be_read_is_a_dead_letter_and_stops_nothing(log, opened):
    """S3: with its place and its reason."""
    log.append(view(0), b"{poison", view(2), b'{"user_id": "u1", "event": "view"}', view(4, price="dear"))
    reading = opened()
    reading.rows_until(5)
    assert [row is None for row in reading.rows] == [False, True, False, True, True]
    assert [letter.position for letter in reading.dead] == [1, 3, 4]
    assert {letter.partition for letter in reading.dead} == {reading.partition.name}
    assert [letter.reason for letter in reading.dead][1:] == ["missing_field", "bad_type"]
    assert "poison" in reading.dead[0].sample


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    """What sources log."""
    handler = logging.Handler()
    records: list[logging.LogRecord] = []
    handler.emit = records.append
    logger = logging.getLogger("flowops.sources")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.mark.parametrize("kind", ["kafka", "redis"])
def test_a_server_that_goes_away_is_waited_for(kind, said):
    """Nothing is lost, time stands still meanwhile (S8), and it is said once that it went and that it is back."""
    with running(Broker() if kind == "kafka" else RedisServer(appendonly=True)) as server:
        log = KafkaLog(server) if kind == "kafka" else StreamLog(server)
        connector = log.connect()
        ((name, _),) = connector.partitions().items()
        reading = Reading(connector.open(name, None))
        log.append(view(0))
        reading.until(lambda: reading.rows and reading.partition.caught_up_at())
        server.stop()
        gone = time.time_ns() // 1000
        began = time.monotonic()
        assert reading.is_quiet(3)
        assert time.monotonic() - began < 4, "a reader was held up"
        assert reading.partition.caught_up_at() <= gone
        assert not reading.partition.is_reachable()
        server.start()
        log.append(view(1))
        reading.rows_until(2)
        reading.until(lambda: reading.partition.caught_up_at() > gone)
        assert reading.partition.is_reachable()
        reading.partition.close()
    assert [(record.getMessage(), record.fields["source"]) for record in said] == [
        (f"source waits for {kind.title()}", "web"),
        ("source goes on", "web"),
    ]
