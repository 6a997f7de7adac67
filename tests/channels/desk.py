"""The delivery step of an engine, without the engine: its four writers, fed and saved as Bytewax would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from project import FLOWOPS, write_project

from flowops.channels import CHANNELS, Local
from flowops.channels.base import WRITERS, Command
from flowops.channels.courier import wall_clock
from flowops.core.records import shard_of
from flowops.core.time import HOUR
from flowops.streaming.job import load_job
from flowops.streaming.pace import Pace
from flowops.streaming.shards import ToChannel, ToNetwork
from flowops.streaming.sinks import Delivery
from flowops.streaming.statefolder import StateFolder

PLAN = """\
plan: simple
trigger: {event: product_view}
send: {channel: push, content: {title: T}}
"""
CHANNEL = "  push: {type: file, path: out/push.jsonl, receipts: assumed}\n"


def write_channel(folder: Path, channel: Mapping[str, Any], plan: str = PLAN, more: str = "") -> Path:
    """A project whose one plan sends by this channel. JSON is YAML."""
    assert CHANNEL in FLOWOPS
    flowops = FLOWOPS.replace(CHANNEL, f"  push: {json.dumps(channel)}\n")
    flowops = flowops.replace("out_of_orderness: 5s", "out_of_orderness: 1s")
    write_project(folder, {"simple": plan}, flowops + more)
    (folder / "data" / "web.jsonl").touch()
    return folder


def command(number: int, user: str | None = None, expires_at: int | None = None) -> Command:
    """A message to a user, one of seven if it is not said."""
    user = user or f"u{number % 7}"
    dispatch_id = f"{shard_of(user):02x}{number:022x}-send-push"
    body = json.dumps({"dispatch_id": dispatch_id, "user_id": user, "number": number}).encode()
    at = wall_clock() + HOUR if expires_at is None else expires_at
    return Command(dispatch_id, user, 0, "simple", "simple@2022-04-21", "UTC", at, body)


class Desk:
    """The writers of the project in `folder`, as `states` left them."""

    def __init__(self, folder: Path, states: list[Any] | None = None) -> None:
        self.job = load_job(folder)
        self.folder = StateFolder(self.job.config.state)
        self.folder.path.mkdir(exist_ok=True)
        self.folder.published_at = wall_clock()
        self.local = isinstance(CHANNELS[self.job.config.channels["push"].type], Local)
        self.folder.begin_pace(writers=not self.local)
        self.pace = Pace(self.folder.pace)
        self._delivery = Delivery(self.job, self.folder, None, durable=False)
        parts = self._delivery.list_parts()
        self._writers = [
            self._delivery.build_part("deliver", part, state)
            for part, state in zip(parts, states or [None] * WRITERS, strict=True)
        ]

    def send(self, commands: Iterable[Command]) -> None:
        for each in commands:
            if self.local:
                writer = self._writers[self._delivery.part_fn("push")]
                writer.write_batch([ToChannel("push", [each.body])])
            else:
                number = shard_of(each.user_id) % WRITERS
                self._writers[number].write_batch([ToNetwork(number, "push", [each])])

    def beat(self) -> None:
        """What wakes the writers in each epoch."""
        if not self.local:
            for number, writer in enumerate(self._writers):
                writer.write_batch([ToNetwork(number, "", [])])

    def save(self) -> list[Any]:
        """The end of an epoch."""
        self.beat()
        return [writer.snapshot() for writer in self._writers]

    def settle(self, seconds: float = 40) -> None:
        """Wait until everything was answered, and collect that."""
        self.wait(lambda: self.pace.waiting() == 0, seconds)
        self.beat()

    def wait(self, what: Callable[[], bool], seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not what():
            self.beat()
            assert time.monotonic() < end, f"it did not come in time; {self.pace.waiting()} commands wait"
            time.sleep(0.02)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def journal(self) -> list[dict[str, Any]]:
        """What was journalled, by all writers."""
        paths = sorted(self.folder.journal.glob("*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]
