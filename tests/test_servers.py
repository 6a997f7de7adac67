"""The servers that other tests stand on do what their names say."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, KafkaException

from servers import fetch
from servers.kafka import Broker
from servers.process import HOST, StartError
from servers.redis import RedisServer
from servers.skip import running

QUIET = {"log_level": 0}  # clients tell of each lost connection, and here they lose many


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """Started anew by several tests, so not the one that all share; its clients log in."""
    with running(Broker(sasl={"shop": "secret", "guest": "word"})) as broker:
        yield broker


def produce(broker: Broker, topic: str, values: Iterable[bytes]) -> None:
    producer = broker.producer()
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def consume(broker: Broker, topic: str, count: int) -> list[bytes]:
    config = {"group.id": topic, "auto.offset.reset": "earliest"} | QUIET
    consumer = Consumer(broker.client_config | config)
    try:
        consumer.subscribe([topic])
        return [message.value() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


def fill(client: redis.Redis, size: int) -> None:
    for number in range(size // 100_000):
        client.set(str(number), bytes(100_000))


def test_kafka_round_trip(kafka_broker: Broker, unique_name: str) -> None:
    """What is produced is consumed, over all partitions of a topic with settings of its own."""
    kafka_broker.create_topic(unique_name, partitions=3, config={"retention.ms": "-1"})
    sent = [b"%d" % number for number in range(100)]
    produce(kafka_broker, unique_name, sent)
    assert sorted(consume(kafka_broker, unique_name, 100)) == sorted(sent)


def test_kafka_makes_no_topic_by_itself(kafka_broker: Broker, unique_name: str) -> None:
    """A client that names a topic does not make it."""
    metadata = kafka_broker.admin().list_topics(unique_name, timeout=10)
    assert metadata.topics[unique_name].error is not None
    assert unique_name not in kafka_broker.admin().list_topics(timeout=10).topics


def test_kafka_killed_and_started_again_is_where_it_was(broker: Broker, unique_name: str) -> None:
    """It has its address, its topics and its messages."""
    broker.create_topic(unique_name)
    produce(broker, unique_name, [b"before"])
    before = broker.bootstrap
    broker.kill()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HOST, broker.ports[0]))
    broker.start()
    assert broker.bootstrap == before
    produce(broker, unique_name, [b"after"])
    assert consume(broker, unique_name, 2) == [b"before", b"after"]


def test_kafka_paused_does_not_answer(broker: Broker, unique_name: str) -> None:
    """A paused broker is silent; once it goes on, what was sent meanwhile arrives."""
    broker.create_topic(unique_name)
    producer = broker.producer()
    broker.pause()
    producer.produce(unique_name, b"meanwhile")
    assert producer.flush(0.5) == 1
    broker.resume()
    assert producer.flush(30) == 0
    assert consume(broker, unique_name, 1) == [b"meanwhile"]


def test_kafka_asks_for_a_password(broker: Broker) -> None:
    """With users, one of them must log in."""
    guest = {"sasl.username": "guest", "sasl.password": "word"}
    assert Consumer(broker.client_config | guest | QUIET | {"group.id": "g"}).list_topics(timeout=10).brokers
    with pytest.raises(KafkaException):
        Consumer(broker.client_config | guest | QUIET | {"group.id": "g", "sasl.password": "other"}).list_topics(
            timeout=1
        )


def test_kafka_that_does_not_start_says_why() -> None:
    """The error has what Kafka said."""
    with pytest.raises(StartError, match="Invalid value none"), running(Broker(config={"node.id": "none"})):
        pass


def test_redis_round_trip(redis_server: RedisServer, unique_name: str) -> None:
    """What is set is got."""
    with redis_server.client() as client:
        client.set(f"{unique_name}:a", "1", ex=60)
        assert client.get(f"{unique_name}:a") == b"1"


@pytest.mark.parametrize("appendonly", [False, True])
def test_redis_starts_again_with_or_without_its_data(appendonly: bool) -> None:
    """The data end with the server, unless they are appended to a file; its address stays."""
    with running(RedisServer(appendonly=appendonly, password="p@ss:/word")) as server, server.client() as client:
        for end in (server.kill, server.stop):
            client.set("a", "1")
            end()
            with pytest.raises(redis.ConnectionError):
                client.get("a")
            server.start()
            assert client.get("a") == (b"1" if appendonly else None)


def test_redis_paused_does_not_answer() -> None:
    """A paused server keeps its connections and answers none, until it goes on."""
    with running(RedisServer()) as server, server.client(socket_timeout=0.2, retry=None) as client:
        client.set("a", "1")
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("a")
        server.resume()
        assert client.get("a") == b"1"


def test_redis_is_full_at_its_maxmemory() -> None:
    """What does not fit is refused, not made room for."""
    with running(RedisServer(maxmemory="4mb")) as server, server.client() as client:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            fill(client, 10_000_000)
        assert client.exists("0")


def test_redis_that_does_not_start_says_why() -> None:
    """The error has what the server said, or that its port was taken meanwhile; nothing is left of it."""
    with pytest.raises(StartError, match="argument must be a memory value"), running(RedisServer(maxmemory="much")):
        pass
    server = RedisServer()
    with socket.create_server((HOST, server.ports[0])), pytest.raises(StartError, match="something else listens"):
        server.start()


def test_a_server_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    """Nothing is left of it when the process that started it is killed."""
    program = "from servers.redis import RedisServer as S; print(S().start().pid, flush=True); input()"
    command = [sys.executable, "-c", program]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        run.send_signal(signal.SIGKILL)
        run.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_server_skips_and_on_ci_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    """The reason says what is missing, and what gets it."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(outcome, match=r"no redis-server.*`make servers`"), running(RedisServer()):
        pass


def test_an_installed_kafka_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FLOWOPS_KAFKA_HOME names it; what is no Kafka is told and not passed over."""
    monkeypatch.setenv("FLOWOPS_KAFKA_HOME", str(tmp_path))
    with pytest.raises(fetch.Missing, match="has no folder libs"):
        fetch.kafka()
    (tmp_path / "libs").mkdir()
    assert fetch.kafka() == tmp_path / "libs"
