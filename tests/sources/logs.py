"""Logs that grow, for tests of connectors: a file, a Kafka partition, a Redis stream, under one face."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from pathlib import Path

from kit import as_tuple, source

from flowops.settings.secrets import parse_filled
from flowops.sources import KafkaSettings, RedisSettings, connect

COLUMNS = {"sku": "string", "price": "money"}
WHERE = source(columns=COLUMNS)
_numbers = itertools.count()


def fresh(name: str = "web") -> str:
    """A name that no other test has."""
    return f"{name}-{time.time_ns()}-{next(_numbers)}"


class FileLog:
    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{fresh()}.jsonl"
        self.path.touch()

    def append(self, *values: bytes) -> None:
        with self.path.open("ab") as file:
            file.writelines(value + b"\n" for value in values)

    def connect(self, where=WHERE, *, follow=True, bounds=None):
        where = dataclasses.replace(where, files=(self.path.name,))
        return connect(self.path.parent, where, None, follow=follow, bounds=bounds)


class KafkaLog:
    def __init__(self, broker, partitions: int = 1, config=None) -> None:
        self.broker = broker
        self.topic = broker.create_topic(fresh(), partitions=partitions, config=config)
        self.producer = broker.producer({"linger.ms": 0})

    def append(self, *values: bytes | None, partition: int = 0, keys=None, ms: int = 0) -> None:
        for value, key in zip(values, keys or [None] * len(values), strict=True):
            self.producer.produce(self.topic, value=value, key=key, partition=partition, timestamp=ms)
            self.producer.poll(0)
        assert self.producer.flush(30) == 0

    def settings(self, **more) -> KafkaSettings:
        return KafkaSettings(topic=self.topic, brokers=[self.broker.bootstrap], **more)

    def connect(self, where=WHERE, *, follow=True, bounds=None, **more):
        return connect(Path(), where, self.settings(**more), follow=follow, bounds=bounds)


class StreamLog:
    """A stream whose entries are flat records."""

    def __init__(self, server, json_field: str | None = None) -> None:
        self.server = server
        self.key = fresh()
        self.json_field = json_field

    def append(self, *values: bytes) -> None:
        with self.server.client() as client:
            for value in values:
                client.xadd(self.key, {self.json_field: value} if self.json_field else self._cells(value))

    def _cells(self, value: bytes) -> dict[str, str | bytes]:
        try:
            return {name: str(cell) for name, cell in json.loads(value).items() if cell is not None}
        except ValueError:
            return {"user_id": "u", "event": "view", "ts": value}

    def settings(self) -> RedisSettings:
        return RedisSettings(url=parse_filled(self.server.url), stream=self.key, json_field=self.json_field)

    def connect(self, where=WHERE, *, follow=True, bounds=None):
        return connect(Path(), where, self.settings(), follow=follow, bounds=bounds)


def view(number: int, **more) -> bytes:
    """The record of one event, a second after the one before."""
    record = {"user_id": f"u{number % 7}", "event": "view", "ts": number * 1_000_000, "sku": f"s{number}", **more}
    return json.dumps(record).encode()


class Reading:
    """What has been read of a partition so far."""

    def __init__(self, partition, where=WHERE) -> None:
        self.partition = partition
        self.where = where
        self.rows: list = []
        self.positions: list[int] = []
        self.dead: list = []

    def read(self, limit: int = 1 << 17) -> bool:
        """Read once; whether there was something."""
        chunk = self.partition.read(limit)
        if chunk is None:
            return False
        places = chunk.positions or range(chunk.first, chunk.first + len(chunk.rows))
        assert len(places) == len(chunk.rows) > 0
        bad = [place for place, row in zip(places, chunk.rows, strict=True) if row is None]
        assert bad == [letter.position for letter in chunk.dead]
        self.positions += places
        self.rows += [as_tuple(row, self.where, chunk.unit) for row in chunk.rows]
        self.dead += chunk.dead
        return True

    def until(self, what, seconds: float = 30, limit: int = 1 << 17) -> None:
        """Read on until something holds."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, (len(self.rows), self.partition.position())
            if not self.read(limit):
                time.sleep(0.005)

    def rows_until(self, count: int, limit: int = 1 << 17) -> list:
        """Read until there are so many, and no more."""
        self.until(lambda: len(self.rows) >= count, limit=limit)
        assert len(self.rows) == count
        return self.rows

    def is_quiet(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.read():
                return False
            time.sleep(0.005)
        return True
