"""`flowops run` sends by network channels: over kills at any moment, over restarts, and without showing a secret."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from project import has_read, outcomes, refused, slowly, started, wait_for

from channels.desk import PLAN, write_channel
from channels.endpoint import Endpoint, Reply
from channels.receivers import KafkaReceiver, Receiver, RedisReceiver, WebhookReceiver
from flowops.channels import CHANNELS, Network
from flowops.channels.base import WRITERS
from flowops.streaming.journal import segments
from servers.redis import RedisServer
from servers.skip import running

KILLS = int(os.environ.get("FLOWOPS_KILLS", "3"))
"""`make chaos` kills more often."""

NETWORK = [name for name, kind in CHANNELS.items() if isinstance(kind, Network)]


@pytest.fixture(params=NETWORK)
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """Every network channel."""
    with ExitStack() as stack:
        name = request.getfixturevalue("unique_name")
        if request.param == "kafka":
            yield KafkaReceiver(request.getfixturevalue("kafka_broker"), name)
        elif request.param == "redis":
            yield RedisReceiver(stack.enter_context(running(RedisServer())), name)
        else:
            webhook = WebhookReceiver()
            webhook.endpoint.answering = lambda request, before: Reply(delay=0.002)  # noqa: ARG005
            yield webhook
            webhook.close()


class Log:
    """A file that grows with what happens now."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "data" / "web.jsonl"
        self.count = 0

    def grow(self, events: int) -> None:
        with self._path.open("a") as file:
            for number in range(self.count, self.count + events):
                event = {
                    "event_id": f"e{number}", "user_id": f"u{number % 97}", "event": "product_view",
                    "ts": time.time_ns() // 1_000_000, "sku": "A",
                }  # fmt: skip
                file.write(json.dumps(event) + "\n")
        self.count += events


def told(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What the published outcomes answer; nothing as long as there are none."""
    path = folder / "warehouse" / "outcomes.duckdb"
    if not path.exists():
        return []
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_killed_at_any_moment_it_loses_nothing_and_sends_nothing_twice(
    receiver: Receiver, tmp_path: Path, processes: str
) -> None:
    """S32: also where the kill falls between the server's acceptance and the commit of the epoch."""
    write_channel(tmp_path, receiver.channel)
    log = Log(tmp_path)
    draw = Random(len(processes)).random
    for kill in range(KILLS):
        with started(tmp_path, "--epoch", "0.2", "--processes", processes, verb="run") as process:
            before = len(receiver.arrived())
            log.grow(150)
            if kill % 2:  # as soon as something has arrived
                wait_for(lambda: len(receiver.arrived()) > before, process)  # noqa: B023
            else:
                time.sleep(1.5 + draw())
            log.grow(150)
            time.sleep(draw() * 0.5)
    with started(tmp_path, "--epoch", "0.2", "--processes", processes, verb="run") as process:
        assert wait_for(lambda: len(receiver.arrived()) >= log.count, process)
        process.terminate()
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    arrived = receiver.arrived()
    assert set(Counter(each.dispatch_id for each in arrived).values()) == {1}
    evidence = Counter(json.loads(each.body)["evidence"][0] for each in arrived)
    assert evidence == Counter(f"e{number}" for number in range(log.count))
    assert outcomes(tmp_path)["dispatches"][0] == log.count
    if receiver.keeps_order:
        for user in {each.user_id for each in arrived}:
            numbers = [int(json.loads(each.body)["evidence"][0][1:]) for each in arrived if each.user_id == user]
            assert numbers == sorted(numbers)


@pytest.mark.parametrize("point", ["sent-unrecorded", "recorded-uncollected", "collected-unsaved"])
def test_killed_between_the_acceptance_and_the_commit_it_sends_nothing_twice(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """At each of the moments between them: the server has the messages, the state does not know.

    Of the webhook, which has but its key to tell a repeated message by, fifty times over, all points together. At the
    last of these, what it answered goes through a journal of small segments, and is heard once (S40).
    """
    channel = receiver.channel
    waits = isinstance(receiver, WebhookReceiver) and point == "collected-unsaved"
    if waits:
        channel["receipts"] = {"undelivered_after": "1d"}
        monkeypatch.setenv("FLOWOPS_TEST_SEGMENT", "300")
    write_channel(tmp_path, channel)
    log = Log(tmp_path)
    for kill in range(17 if isinstance(receiver, WebhookReceiver) else 2):
        for name, value in slowly(0.0, fault=f"{point}:{1 + 2 * (kill % 2)}").items():
            monkeypatch.setenv(name, value)
        log.grow(60)
        with started(tmp_path, "--epoch", "0.2", "--restarts", "0", verb="run") as process:
            assert not wait_for(lambda: False, process)
    monkeypatch.delenv("FLOWOPS_TEST_FAULT")
    receipts = "select count(*), count(distinct dispatch_id) from receipts where receipt = 'accepted'"
    with started(tmp_path, "--epoch", "0.2", verb="run") as process:
        assert wait_for(lambda: len(receiver.arrived()) >= log.count, process)
        time.sleep(1)
        if waits:
            assert wait_for(lambda: told(tmp_path, receipts) == [(log.count, log.count)], process), "an answer was lost"
        process.terminate()
        process.communicate(timeout=60)
    if waits:
        journals = [segments(tmp_path / ".flowops" / "journal", writer) for writer in range(WRITERS)]
        assert min(found[0][0] for found in journals) > 0, "no segment was removed"
        assert max(len(found) for found in journals) < 20
    arrived = receiver.arrived()
    assert set(Counter(each.dispatch_id for each in arrived).values()) == {1}
    assert len(arrived) == log.count
    if isinstance(receiver, WebhookReceiver) and point == "sent-unrecorded":  # the key tells the provider
        assert max(receiver.endpoint.accepted.values()) > 1


def test_a_stopped_run_goes_on_with_what_was_in_flight(tmp_path: Path) -> None:
    """SIGTERM while the provider is gone: the messages wait in the state, and go out with the next start."""
    endpoint = Endpoint()
    endpoint.stop()
    write_channel(tmp_path, {"type": "webhook", "url": endpoint.url, "receipts": "assumed"})
    log = Log(tmp_path)
    log.grow(20)
    with started(tmp_path, "--epoch", "0.2", verb="run") as process:
        flight = tmp_path / ".flowops" / "flight"
        assert wait_for(lambda: sum(path.stat().st_size for path in flight.glob("*.log")) > 5000, process)
        time.sleep(1)
        process.terminate()
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0
    assert 'event="messages wait" channel=push reason=' in complaint
    endpoint.start()
    with started(tmp_path, "--epoch", "0.2", verb="run") as process:
        assert wait_for(lambda: len(endpoint.accepted) == 20, process)
        process.terminate()
        process.communicate(timeout=60)
    endpoint.stop()
    assert set(endpoint.accepted.values()) == {1}


def test_a_secret_is_nowhere_but_on_the_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the logs, the state, the messages, the outcomes, or what is said of an error."""
    secret = "hunter2-of-the-shop"
    monkeypatch.setenv("PUSH_TOKEN", secret)
    monkeypatch.setenv("PUSH_SECRET", f"{secret}-signing")
    endpoint = Endpoint()
    endpoint.answering = lambda request, before: Reply(403, f"{request.headers}".encode())  # noqa: ARG005
    channel = {
        "type": "webhook",
        "url": endpoint.url,
        "receipts": {"undelivered_after": "1d"},
        "secret": "${PUSH_SECRET}",
    }
    write_channel(tmp_path, {**channel, "headers": {"Authorization": "Bearer ${PUSH_TOKEN}"}})
    Log(tmp_path).grow(10)
    with started(tmp_path, "-v", "--epoch", "0.2", verb="run") as process:
        assert wait_for(lambda: len(endpoint.requests) == 10, process)
        time.sleep(2.5)
        process.terminate()
        said = "".join(process.communicate(timeout=60))
    endpoint.stop()
    assert f"Bearer {secret}" in {request.headers["authorization"] for request in endpoint.requests}
    journals = b"".join(path.read_bytes() for path in (tmp_path / ".flowops" / "journal").iterdir())
    assert journals.count(b"403 Forbidden") == 10
    with duckdb.connect(str(tmp_path / "warehouse" / "outcomes.duckdb"), read_only=True) as connection:
        said += str(connection.execute("select * from dispatches").fetchall())
    assert secret not in said
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_a_secret_that_is_missing_stops_the_start_and_its_name_may_be_mended(tmp_path: Path) -> None:
    channel = {
        "type": "webhook",
        "url": "https://push.example.com",
        "receipts": {"undelivered_after": "1d"},
        "secret": "${NOT_THERE}",
    }
    write_channel(tmp_path, channel)
    said = refused(2, "run", "--project", tmp_path)
    assert "the environment has no NOT_THERE" in said
    (tmp_path / "flowops.yaml").write_text((tmp_path / "flowops.yaml").read_text().replace("NOT_THERE", "NOR_THIS"))
    said = refused(2, "run", "--project", tmp_path)
    assert "the environment has no NOR_THIS" in said, "no other run, that would have to begin with --fresh"


def test_a_replay_with_a_network_channel_is_refused(tmp_path: Path) -> None:
    """An old log must not message real people (S31a); a channel that no plan uses does no harm."""
    channel = {"type": "webhook", "url": "https://push.example.com", "receipts": {"undelivered_after": "1d"}}
    write_channel(tmp_path, channel)
    said = refused(2, "replay", "--project", tmp_path)
    assert "the plan `simple` sends by `push`, a channel of type `webhook`" in said
    assert "`type: file`" in said
    assert "`flowops run`" in said
    flowops = (tmp_path / "flowops.yaml").read_text()
    (tmp_path / "flowops.yaml").write_text(flowops.replace("channels:\n", "channels:\n  log: {type: console}\n"))
    (tmp_path / "rules" / "simple.yaml").write_text(PLAN.replace("channel: push", "channel: log"))
    with started(tmp_path) as process:
        _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (0, "")


def test_what_the_provider_says_comes_back_as_receipts(tmp_path: Path) -> None:
    """S40: what failed is lost as `send_failed` with the provider's words, what was accepted waits to be delivered."""
    endpoint = Endpoint()
    bad = Reply(404, b"no such device")
    endpoint.answering = lambda request, before: bad if json.loads(request.body)["user_id"] == "u3" else Reply()  # noqa: ARG005
    channel = {"type": "webhook", "url": endpoint.url, "receipts": {"undelivered_after": "1d"}}
    write_channel(tmp_path, channel)
    Log(tmp_path).grow(10)

    receipts = "select user_id, receipt from receipts order by user_id"
    with started(tmp_path, "--epoch", "0.2", "--processes", "2", verb="run") as process:
        assert wait_for(lambda: len(told(tmp_path, receipts)) == 10, process)
    with started(tmp_path, "--epoch", "0.2", "--processes", "2", verb="run") as process:  # after a kill
        assert wait_for(has_read(tmp_path, 0), process)
        time.sleep(3)
        process.terminate()
        _, complaint = process.communicate(timeout=60)
    endpoint.stop()
    assert process.returncode == 0, complaint
    lost = "select user_id, stage, detail from losses"
    assert told(tmp_path, lost) == [("u3", "send_failed", "404 Not Found: no such device")]
    assert told(tmp_path, receipts) == [(f"u{number}", "failed" if number == 3 else "accepted") for number in range(10)]
    assert len(endpoint.requests) == 10
