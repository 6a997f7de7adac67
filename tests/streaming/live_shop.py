"""A live project on a topic, for tests that run the engine as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from project import FLOWOPS, started, wait_for, write_project

from servers.kafka import Broker

HOUR = 3_600_000

PLAN = """\
plan: unpaid
name: An hour without an order
trigger: {event: product_view, without: order, within: 1h}
send: {channel: push, content: {title: T, body: "{{ product_view.sku }}"}}
"""


def with_source(source: str, more: str = "") -> str:
    """The shop's settings, with another source in the place of its files."""
    return FLOWOPS.replace("    file: data/*.jsonl\n", f"    {source}\n{more}").replace(
        "out_of_orderness: 5s", "out_of_orderness: 1s"
    )


def now() -> int:
    return time.time_ns() // 1_000_000


class Shop:
    """A live project on a topic, whose events the test writes."""

    def __init__(self, folder: Path, broker: Broker, topic: str, partitions: int = 4) -> None:
        self.broker = broker
        self.topic = broker.create_topic(topic, partitions=partitions)
        options = "{topic.metadata.refresh.interval.ms: 500}"
        source = f"kafka: {{topic: {topic}, brokers: ['{broker.bootstrap}'], options: {options}}}"
        self.folder = write_project(folder, {"unpaid": PLAN}, with_source(source))
        self.producer = broker.producer({"linger.ms": 0})
        self.sent = 0

    def send(self, user: str, event: str, at: int, partition: int = 0) -> None:
        """An event of the time `at`, in milliseconds."""
        self.sent += 1
        record = {"event_id": f"{user}-{event}-{at}", "user_id": user, "event": event, "ts": at, "sku": "A"}
        self.raw(json.dumps(record).encode(), partition)

    def raw(self, value: bytes, partition: int = 0) -> None:
        self.producer.produce(self.topic, value=value, partition=partition)
        assert self.producer.flush(60) == 0

    def run(self, *options: str) -> Any:
        return started(self.folder, "--epoch", "0.3", *options, verb="run")

    def messages(self) -> list[str]:
        """To whom messages have gone out."""
        path = self.folder / "out" / "push.jsonl"
        return sorted(json.loads(line)["user_id"] for line in path.read_text().splitlines()) if path.exists() else []

    def wait(self, process: subprocess.Popen[str], *users: str) -> None:
        assert wait_for(lambda: set(users) <= set(self.messages()), process), process.communicate()


def stop(process: subprocess.Popen[str]) -> str:
    """What it said on standard error."""
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    return complaint
