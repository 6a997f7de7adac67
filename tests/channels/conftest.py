"""The receivers, one of each kind, and writers that end with their test."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from channels.desk import Desk, write_channel
from channels.receivers import (
    ConsoleReceiver,
    FileReceiver,
    KafkaReceiver,
    Receiver,
    RedisReceiver,
    WebhookReceiver,
)
from flowops.channels import CHANNELS, Network
from flowops.streaming.log import line
from servers.kafka import Broker
from servers.redis import RedisServer
from servers.skip import running

NETWORK = [name for name, kind in CHANNELS.items() if isinstance(kind, Network)]


def _receiver(kind: str, request: pytest.FixtureRequest, *, own: bool, stack: ExitStack) -> Receiver:
    """`own`: with a server of its own, that may be stopped."""
    name = request.getfixturevalue("unique_name")
    if kind == "kafka":
        return KafkaReceiver(
            stack.enter_context(running(Broker())) if own else request.getfixturevalue("kafka_broker"), name
        )
    if kind == "redis":
        server = RedisServer(appendonly=True)
        return RedisReceiver(
            stack.enter_context(running(server)) if own else request.getfixturevalue("redis_server"), name
        )
    if kind == "webhook":
        return WebhookReceiver()
    if kind == "file":
        return FileReceiver(request.getfixturevalue("tmp_path"))
    if kind == "console":
        return ConsoleReceiver(request.getfixturevalue("capsys"))
    raise AssertionError(f"the channel {kind} has no receiver here: write one, and all of the contract holds it too")


@pytest.fixture(params=list(CHANNELS))
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """Every channel there is."""
    with ExitStack() as stack:
        found = _receiver(request.param, request, own=False, stack=stack)
        yield found
        found.close()


@pytest.fixture(params=NETWORK)
def network(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """Every network channel."""
    with ExitStack() as stack:
        found = _receiver(request.param, request, own=False, stack=stack)
        yield found
        found.close()


@pytest.fixture(params=NETWORK)
def frail(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """Every network channel, with a server that may go away."""
    with ExitStack() as stack:
        found = _receiver(request.param, request, own=True, stack=stack)
        yield found
        found.close()


@pytest.fixture
def said() -> Iterator[Callable[[], str]]:
    """What the log of a run says, from here on."""
    lines: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            when = datetime.fromtimestamp(record.created, UTC)
            lines.append(line(when, record.levelname, record.getMessage(), getattr(record, "fields", {})))

    keeper = Keeper()
    logger = logging.getLogger("flowops")
    logger.addHandler(keeper)
    yield lambda: "\n".join(lines)
    logger.removeHandler(keeper)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes writers for a channel, or makes them anew from states; all are closed in the end."""
    made: list[Desk] = []

    def make(receiver: Receiver | None = None, states: list[Any] | None = None, **more: Any) -> Desk:
        if receiver is not None:
            write_channel(tmp_path, receiver.channel, **more)
        made.append(Desk(tmp_path, states))
        return made[-1]

    yield make
    for each in made:
        each.close()
