"""Who is at the other end of a channel, one for each kind: what arrived, how it goes away and comes back."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer, TopicPartition

from channels.endpoint import Endpoint
from servers.kafka import Broker
from servers.redis import RedisServer


class Arrived(NamedTuple):
    dispatch_id: str
    user_id: str
    body: bytes


class Receiver(ABC):
    keeps_order = True

    @property
    @abstractmethod
    def channel(self) -> dict[str, Any]:
        """The channel, as it would stand in flowops.yaml."""

    @abstractmethod
    def arrived(self) -> list[Arrived]:
        """All that arrived, as who listens there would take it: in order, repeats in it."""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give everything back."""


class RemoteReceiver(Receiver):
    """One that can be gone."""

    @abstractmethod
    def go(self) -> None:
        """Be gone."""

    @abstractmethod
    def come(self) -> None:
        """Be back."""


class FileReceiver(Receiver):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def channel(self) -> dict[str, Any]:
        return {"type": "file", "path": "out/push.jsonl"}

    def arrived(self) -> list[Arrived]:
        lines = (self._folder / "out" / "push.jsonl").read_bytes().splitlines()
        return [_of_body(line) for line in lines]


class ConsoleReceiver(Receiver):
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._printed = ""

    @property
    def channel(self) -> dict[str, Any]:
        return {"type": "console"}

    def arrived(self) -> list[Arrived]:
        self._printed += self._capsys.readouterr().out
        return [_of_body(line.encode()) for line in self._printed.splitlines()]


class KafkaReceiver(RemoteReceiver):
    def __init__(self, broker: Broker, topic: str, *, partitions: int = 3, make: bool = True) -> None:
        self._broker = broker
        self._topic = topic
        self._partitions = partitions
        if make:
            broker.create_topic(topic, partitions=partitions)

    @property
    def channel(self) -> dict[str, Any]:
        return {
            "type": "kafka", "brokers": [self._broker.bootstrap], "topic": self._topic,
            "transactional_id": self._topic, "receipts": "assumed",
        }  # fmt: skip

    def arrived(self) -> list[Arrived]:
        consumer = Consumer(
            self._broker.client_config
            | {
                "group.id": "test", "isolation.level": "read_committed", "enable.partition.eof": True,
                "enable.auto.commit": False, "log_level": 0,
            }
        )  # fmt: skip
        found = []
        try:
            consumer.assign([TopicPartition(self._topic, partition, 0) for partition in range(self._partitions)])
            ended = set()
            while len(ended) < self._partitions:
                for message in consumer.consume(1000, 1.0):
                    if message.error() is not None:
                        ended.add(message.partition())
                        continue
                    headers = dict(message.headers())
                    found.append(Arrived(headers["dispatch_id"].decode(), message.key().decode(), message.value()))
        finally:
            consumer.close()
        return found

    def go(self) -> None:
        self._broker.stop()

    def come(self) -> None:
        self._broker.start()


class RedisReceiver(RemoteReceiver):
    def __init__(self, server: RedisServer, stream: str) -> None:
        self._server = server
        self.stream = stream

    @property
    def channel(self) -> dict[str, Any]:
        return {"type": "redis", "url": self._server.url, "stream": self.stream, "receipts": "assumed"}

    def arrived(self) -> list[Arrived]:
        with self._server.client() as client:
            entries = client.xrange(self.stream)
        return [Arrived(e[b"dispatch_id"].decode(), e[b"user_id"].decode(), e[b"command"]) for _, e in entries]

    def go(self) -> None:
        self._server.stop()

    def come(self) -> None:
        self._server.start()


class WebhookReceiver(RemoteReceiver):
    keeps_order = False

    def __init__(self) -> None:
        self.endpoint = Endpoint()

    @property
    def channel(self) -> dict[str, Any]:
        return {"type": "webhook", "url": self.endpoint.url, "receipts": "assumed"}

    def arrived(self) -> list[Arrived]:
        return [_of_body(request.body) for request in list(self.endpoint.first.values())]

    def go(self) -> None:
        self.endpoint.stop()

    def come(self) -> None:
        self.endpoint.start()

    def close(self) -> None:
        self.endpoint.stop()


def _of_body(body: bytes) -> Arrived:
    message = json.loads(body)
    return Arrived(message["dispatch_id"], message["user_id"], body)
