"""A live engine whose workers, broker and Redis are killed at random: none lost, none twice, in topics and outcomes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from zlib import crc32

import pytest
from project import FLOWOPS, replay, rows_of, started, wait_for, workers_of, write_project

from channels.receivers import KafkaReceiver, RedisReceiver
from servers.kafka import Broker
from servers.redis import RedisServer
from servers.skip import running

KILLS = int(os.environ.get("FLOWOPS_CHAOS", "20"))
"""`make chaos` kills ten times as often."""

EVENTS = int(os.environ.get("FLOWOPS_CHAOS_EVENTS", "1000000"))
SECONDS = 2.5 * KILLS
"""How long the events take."""

PARTITIONS = 4
BOUND = 90
"""Seconds that an event may be late: a broker that is down holds those back that nobody could append."""

PLANS = {
    "reminder": """\
plan: reminder
trigger: {event: product_view, where: category = 'c3', without: order, within: 2s}
caps: [{at_most: 5, per: 24h}]
experiment: {name: copy, holdout: 10%}
send: {channel: push, content: {title: T, body: "{{ product_view.sku }}"}}
goals: [{goal: ordered, event: order, within: 5m, value: amount}]
""",
    "thanks": """\
plan: thanks
trigger: {event: order, where: amount > 85}
send: {channel: sms, content: {body: "{{ order.sku }}"}}
""",
}

CHANNELS = "channels:\n  push: {type: file, path: out/push.jsonl, receipts: assumed}\n"


def lines(first: int) -> Iterator[tuple[bytes, bytes]]:
    """(user, event) from the instant `first` (milliseconds) on, a little out of order."""
    draw = Random(7).random
    names = ["product_view"] * 4 + ["order"] + ["page"] * 5
    for number in range(EVENTS):
        user = f"u{int(EVENTS // 50 * draw() ** 2)}"
        ts = first + int(number * 1000 * SECONDS / EVENTS) - int(2000 * draw())
        event = (
            f'{{"event_id":"e{number}","user_id":"{user}","event":"{names[int(10 * draw())]}","ts":{ts},'
            f'"sku":"s{int(1000 * draw())}","category":"c{int(8 * draw())}","amount":{int(9000 * draw()) / 100}}}'
        )
        yield user.encode(), event.encode()


class Feed(threading.Thread):
    """Puts the events into the topic as they happen, whatever happens to the broker."""

    def __init__(self, broker: Broker, topic: str, events: Iterable[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._producer = broker.producer({"linger.ms": 20, "message.timeout.ms": 600_000})
        self._topic = topic
        self._events = events
        self.left = -1
        """Events that did not get there; 0 when all have."""

    def run(self) -> None:
        began = time.monotonic()
        for number, (user, event) in enumerate(self._events):
            while True:
                try:
                    self._producer.produce(self._topic, event, user, crc32(user) % PARTITIONS)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            if number % 2000 == 0:
                self._producer.poll(0)
                time.sleep(max(0.0, number * SECONDS / EVENTS - (time.monotonic() - began)))
        self.left = self._producer.flush(600)


def kill_worker(process: subprocess.Popen[str], draw: Random) -> None:
    workers = workers_of(process)
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(draw.choice(workers), signal.SIGKILL)


@pytest.mark.timeout(3600)
def test_no_kill_of_anything_loses_a_message_or_sends_one_twice(tmp_path: Path) -> None:
    """S8, S32: what arrives, and what the outcomes say, is what a replay of the same events decides."""
    draw = Random(KILLS)
    with running(Broker()) as broker, running(RedisServer(appendonly=True)) as redis:
        web = broker.create_topic("web", partitions=PARTITIONS)
        push, sms = KafkaReceiver(broker, "push"), RedisReceiver(redis, "sms")
        source = f"    kafka: {{topic: {web}, brokers: ['{broker.bootstrap}']}}\n"
        channels = f"channels:\n  push: {json.dumps(push.channel)}\n  sms: {json.dumps(sms.channel)}\n"
        ledger = f"ledger: {{redis: {{url: '{redis.url}'}}}}\n"
        folder = project(tmp_path / "live", source, channels + ledger)
        first = time.time_ns() // 1_000_000
        feed = Feed(broker, web, lines(first))
        feed.start()
        killed = 0
        while killed < KILLS:
            with started(folder, "--processes", "2", "--epoch", "0.2", verb="run") as process:
                for _ in range(draw.randint(1, 3)):
                    time.sleep(draw.uniform(1.0, 4.0))
                    kind = draw.choice(["worker", "worker", "broker", "redis"])
                    killed += 1
                    if kind == "worker":
                        kill_worker(process, draw)
                        continue
                    server = broker if kind == "broker" else redis
                    server.kill()
                    time.sleep(draw.uniform(0.0, 2.0))
                    server.start()
            killed += 1  # the end of the block kills the supervisor and all that is left
        feed.join()
        assert feed.left == 0
        expected = replayed(tmp_path / "replayed", first)
        with started(folder, "--processes", "2", "--epoch", "0.2", verb="run") as process:

            def all_there() -> bool:
                time.sleep(0.5)
                return len(sms.arrived()) >= len(expected["sms"]) and len(push.arrived()) >= len(expected["push"])

            assert wait_for(all_there, process, seconds=600)
            process.terminate()
            _, complaint = process.communicate(timeout=120)
            assert process.returncode == 0, complaint
        found = {
            "push": Counter(each.dispatch_id for each in push.arrived()),
            "sms": Counter(each.dispatch_id for each in sms.arrived()),
            **outcomes(folder),
        }
    assert min(len(rows) for rows in expected.values()) > EVENTS // 1000
    for name in expected:
        assert found[name] - expected[name] == Counter(), f"{name}: more than there should be"
        assert expected[name] - found[name] == Counter(), f"{name}: less than there should be"


def project(folder: Path, source: str, channels: str) -> Path:
    settings = FLOWOPS.replace("    file: data/*.jsonl\n", source).replace(CHANNELS, channels)
    settings = settings.replace("out_of_orderness: 5s", f"out_of_orderness: {BOUND}s").replace(
        "sku: string, price: money, category: string", "sku: string, category: string"
    )
    return write_project(folder, PLANS, settings)


def replayed(folder: Path, first: int) -> dict[str, Counter[object]]:
    """What the same plans decide over a file of the same events: by channel the dispatch ids, and the outcomes."""
    channels = f"{CHANNELS}  sms: {{type: file, path: out/sms.jsonl, receipts: assumed}}\n"
    project(folder, "    file: data/*.jsonl\n", channels)
    outputs = [(folder / "data" / f"web-{number}.jsonl").open("wb") for number in range(PARTITIONS)]
    for user, event in lines(first):
        outputs[crc32(user) % PARTITIONS].write(event + b"\n")
    for output in outputs:
        output.close()
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(first / 1000 + SECONDS + 3600))
    replay(folder, "--until", until)
    sent = {
        name: Counter(
            json.loads(line)["dispatch_id"] for line in (folder / "out" / f"{name}.jsonl").read_bytes().splitlines()
        )
        for name in ("push", "sms")
    }
    return {**sent, **outcomes(folder)}


def outcomes(folder: Path) -> dict[str, Counter[object]]:
    """The rows of a run's outcomes, but for the version of a plan, to which a channel's settings belong."""
    columns = {
        "triggers": "trigger_id, plan, task, user_id, triggered_at, evidence, arm",
        "outcomes": "trigger_id, step, channel, dispatch_id, stage, ended_at, detail",
        "dispatches": "dispatch_id, trigger_id, user_id, channel, triggered_at, decided_at, content",
        "goal_events": "goal, trigger_id, dispatch_id, arm, event_id, attained_at, value, credited",
    }
    return {name: Counter(map(repr, rows_of(folder, f"select {what} from {name}"))) for name, what in columns.items()}
