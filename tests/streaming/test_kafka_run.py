"""`flowops run` and `replay` on Kafka and Redis: what operators are promised of live sources (S3, S6, S7, S8)."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions
from live_shop import HOUR, PLAN, Shop, now, stop, with_source
from project import (
    FAULTS,
    FLOWOPS,
    REMINDER,
    flowops,
    has_read,
    lines_of,
    outcomes,
    refused,
    replay,
    rows_of,
    started,
    times_of_a_day,
    wait_for,
    write_project,
)

from servers.kafka import Broker
from servers.redis import RedisServer
from servers.skip import running


@pytest.fixture
def shop(tmp_path: Path, kafka_broker: Broker, unique_name: str) -> Shop:
    return Shop(tmp_path, kafka_broker, unique_name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many hours the clock of the engines that are started from now on is ahead."""
    monkeypatch.setenv("PYTHONPATH", str(FAULTS))

    def ahead(hours: float) -> None:
        monkeypatch.setenv("FLOWOPS_TEST_CLOCK", str(hours * 3600))

    return ahead


@pytest.mark.parametrize(("end", "processes"), [("stop", "1"), ("kill", "1"), ("stop", "2"), ("kill", "2")])
def test_nobody_is_reminded_whose_order_waits_in_the_backlog(
    shop: Shop, clock: Callable[[float], None], end: str, processes: str
) -> None:
    """S8: six hours pass while the engine is down. Views were read before, orders that answer them were not, and the
    clock is hours beyond the reminders when it comes back. A partition without records holds nobody up."""
    then = now() - 6 * HOUR
    users = [f"u{number}" for number in range(30)]
    clock(-6)
    with shop.run("--processes", processes) as process:
        for number, user in enumerate(users):
            shop.send(user, "product_view", then + number, partition=number % 3)  # the fourth stays empty
        assert wait_for(has_read(shop.folder, shop.sent), process), process.communicate()
        time.sleep(1.5)  # some epochs
        if end == "stop":
            stop(process)
    assert shop.messages() == []
    for number, user in enumerate(users[2:]):
        shop.send(user, "order", then + HOUR // 3 + number, partition=(number + 1) % 3)
    clock(0)
    with shop.run("--processes", processes) as process:
        shop.wait(process, *users[:2])
        time.sleep(1)
        stop(process)
    assert shop.messages() == sorted(users[:2])
    assert rows_of(shop.folder, "select count(*) from late") == [(0,)]


def test_while_the_broker_is_gone_time_stands_still_and_nothing_is_lost(tmp_path: Path) -> None:
    """S8: the orders are in the log, but nobody can read them, and the reminders fall due. It is said once."""
    with running(Broker()) as broker:
        shop = Shop(tmp_path, broker, "web", partitions=2)
        (shop.folder / "rules" / "unpaid.yaml").write_text(PLAN.replace("1h", "4s"))
        with shop.run() as process:
            shop.send("u0", "page", now())
            assert wait_for(has_read(shop.folder, 1), process)
            shop.send("u1", "product_view", now())
            shop.send("u2", "product_view", now(), partition=1)
            assert wait_for(has_read(shop.folder, 3), process)
            os.killpg(process.pid, signal.SIGSTOP)
            shop.send("u1", "order", now(), partition=1)
            broker.stop()
            os.killpg(process.pid, signal.SIGCONT)
            time.sleep(8)
            assert shop.messages() == []
            broker.start()
            shop.wait(process, "u2")
            shop.send("u0", "page", now())  # our producer finds the broker again, perhaps too late for this one
            shop.send("u3", "product_view", now())
            shop.wait(process, "u3")
            complaint = stop(process)
        assert shop.messages() == ["u2", "u3"]
    assert complaint.count("source waits for Kafka") == complaint.count("source goes on") == 1, complaint
    assert rows_of(shop.folder, "select count(*) from late where user_id <> 'u0'") == [(0,)]


def test_a_run_that_was_killed_again_and_again_reads_each_record_once(shop: Shop) -> None:
    """On two processes, while events come in: everybody gets one message."""
    (shop.folder / "rules" / "unpaid.yaml").write_text(PLAN.replace("1h", "2s"))
    users = []
    for kill in range(4):
        with shop.run("--processes", "2") as process:
            for partition in range(4):
                users.append(f"u{kill}-{partition}")
                shop.send(users[-1], "product_view", now(), partition)
            shop.wait(process, *users[:-4])
            time.sleep(0.3 * kill)
            if kill == 3:
                shop.wait(process, *users)
                stop(process)
    assert shop.messages() == sorted(users)
    assert outcomes(shop.folder)["dispatches"][0] == len(users)


def test_a_poison_message_is_a_dead_letter_with_its_place(shop: Shop) -> None:
    """S3."""
    (shop.folder / "rules" / "unpaid.yaml").write_text(PLAN.replace("1h", "2s"))
    with shop.run() as process:
        shop.raw(b"{poison", partition=2)
        shop.send("ahead", "product_view", now() + HOUR, partition=2)
        shop.send("u1", "product_view", now(), partition=2)
        shop.wait(process, "u1")
        stop(process)
    found = rows_of(shop.folder, "select source, partition, position, reason from dead_letters order by position")
    name = f"{shop.topic}[2]"
    assert found == [("web", name, 0, "unparseable"), ("web", name, 1, "in_future")]


def test_a_partition_that_is_added_while_it_runs_is_read(shop: Shop) -> None:
    """S6: what is older in it than the time that was told is late; after a kill it is known, and nothing repeats."""
    (shop.folder / "rules" / "unpaid.yaml").write_text(PLAN.replace("1h", "2s"))
    with shop.run() as process:
        shop.send("u1", "product_view", now())
        shop.wait(process, "u1")
        admin = shop.broker.admin()
        admin.create_partitions([NewPartitions(shop.topic, 5)])[shop.topic].result(30)
        shop.producer = shop.broker.producer()  # the other one knows four
        assert wait_for(lambda: len(shop.producer.list_topics(shop.topic).topics[shop.topic].partitions) == 5)
        shop.send("old", "product_view", now() - HOUR, partition=4)
        shop.send("u2", "product_view", now() + 10_000, partition=4)
        time.sleep(4)
    with shop.run() as process:
        shop.send("u3", "product_view", now() + 10_000, partition=4)
        shop.wait(process, "u2", "u3")
        stop(process)
    assert shop.messages() == ["u1", "u2", "u3"]
    assert rows_of(shop.folder, "select distinct user_id, partition from late") == [("old", f"{shop.topic}[4]")]


def test_a_topic_that_is_not_there_is_refused(shop: Shop) -> None:
    text = (shop.folder / "flowops.yaml").read_text().replace(f"topic: {shop.topic}", f"topic: {shop.topic}x")
    (shop.folder / "flowops.yaml").write_text(text)
    for options in ([], ["--processes", "2"]):
        said = refused(2, "run", "--project", shop.folder, *options)
        assert f"there is no topic `{shop.topic}x`" in said
        assert f"did you mean `{shop.topic}`?" in said


def test_what_retention_removed_unread_ends_the_run(shop: Shop) -> None:
    """Never a silent jump, nor tried again: the state is kept."""
    for number in range(5):
        shop.send(f"u{number}", "product_view", now())
    with shop.run() as process:
        assert wait_for(has_read(shop.folder, 5), process)
        time.sleep(1)
        stop(process)
    shop.send("u5", "product_view", now())
    shop.send("u6", "product_view", now())
    admin = shop.broker.admin()
    for future in admin.delete_records([TopicPartition(shop.topic, 0, 6)]).values():
        future.result(30)
    done = flowops("run", "--project", shop.folder)
    assert done.returncode == 2
    assert f"{shop.topic}[0] has no record at offset 5 any more" in done.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_replayed_topic_has_the_outcomes_of_a_file_with_its_content(
    tmp_path: Path, kafka_broker: Broker, unique_name: str, processes: str
) -> None:
    """S7, over partitions of very unequal length; it ends where the topic ended when it began."""
    lines = list(lines_of(times_of_a_day(20_000), 3_000))
    beside = write_project(tmp_path / "file", {"reminder": REMINDER})
    (beside / "data" / "web.jsonl").write_text("".join(lines))
    assert replay(beside)["status"] == "finished"
    topic = kafka_broker.create_topic(unique_name, partitions=3)
    producer = kafka_broker.producer()
    for line in lines:
        user = int(json.loads(line)["user_id"][1:])
        producer.produce(topic, value=line.encode(), partition=0 if user % 50 else 1 + user // 50 % 2)
        producer.poll(0)
    assert producer.flush(60) == 0
    source = f"kafka: {{topic: {topic}, brokers: '{kafka_broker.bootstrap}'}}"
    folder = write_project(tmp_path / "kafka", {"reminder": REMINDER}, FLOWOPS.replace("file: data/*.jsonl", source))
    with started(folder, "--processes", processes, "--epoch", "0.2", slow=0.05) as process:
        assert wait_for(has_read(folder, 3_000), process)
    producer.produce(topic, value=lines[0].encode(), partition=0)
    assert producer.flush(60) == 0
    done = replay(folder, "--processes", processes)
    assert done["status"] == "finished"
    found, expected = outcomes(folder), outcomes(beside)
    for relation in ("triggers", "outcomes", "dispatches", "goal_events", "pending", "push.jsonl"):
        assert found[relation] == expected[relation], relation
    assert replay(folder)["status"] == "already finished"


def test_a_redis_stream_goes_on_after_a_kill(tmp_path: Path, redis_server: RedisServer, unique_name: str) -> None:
    """Each entry once, and a bad one is a dead letter; nobody is reminded whose order came meanwhile (S8)."""
    source = f"redis: {{stream: {unique_name}, url: '{redis_server.url}'}}"
    folder = write_project(tmp_path, {"unpaid": PLAN.replace("1h", "3s")}, with_source(source))
    path = folder / "out" / "push.jsonl"

    def told(*users: str) -> bool:
        lines = path.read_text().splitlines() if path.exists() else []
        return sorted(json.loads(line)["user_id"] for line in lines) == sorted(users)

    with redis_server.client() as client:

        def send(user: str, event: str, at: int) -> None:
            client.xadd(unique_name, {"user_id": user, "event": event, "ts": at, "sku": "A"})

        with started(folder, "--epoch", "0.3", verb="run") as process:
            send("u1", "product_view", now())
            client.xadd(unique_name, {"user_id": "u1", "event": "order"})
            assert wait_for(lambda: told("u1"), process), process.communicate()
            begin = now()
            send("u2", "product_view", begin)
            send("u3", "product_view", begin)
            assert wait_for(has_read(folder, 4), process)
            time.sleep(1)
        send("u2", "order", begin + 500)
        time.sleep(4)
        with started(folder, "--epoch", "0.3", verb="run") as process:
            assert wait_for(lambda: told("u1", "u3"), process), process.communicate()
            send("u4", "product_view", now())
            assert wait_for(lambda: told("u1", "u3", "u4"), process)
            stop(process)
    assert rows_of(folder, "select position, reason from dead_letters") == [(1, "missing_field")]


def test_a_replayed_stream_ends_where_it_ended(tmp_path: Path, redis_server: RedisServer, unique_name: str) -> None:
    lines = list(lines_of(times_of_a_day(3_000), 300))
    beside = write_project(tmp_path / "file", {"reminder": REMINDER})
    (beside / "data" / "web.jsonl").write_text("".join(lines))
    assert replay(beside)["status"] == "finished"
    with redis_server.client() as client:
        pipe = client.pipeline(transaction=False)
        for line in lines:
            pipe.xadd(unique_name, {"body": line})
        pipe.execute()
    source = f"redis: {{stream: {unique_name}, json: body, url: '{redis_server.url}'}}"
    folder = write_project(tmp_path / "redis", {"reminder": REMINDER}, FLOWOPS.replace("file: data/*.jsonl", source))
    assert replay(folder)["status"] == "finished"
    found, expected = outcomes(folder), outcomes(beside)
    for relation in ("triggers", "outcomes", "dispatches", "goal_events", "pending", "push.jsonl"):
        assert found[relation] == expected[relation], relation


def test_whoever_is_in_a_set_is_in_the_segment(tmp_path: Path, redis_server: RedisServer, unique_name: str) -> None:
    """S2: from when it was seen to when it was seen no more; a kill changes nothing."""
    source = f"redis: {{stream: {unique_name}, url: '{redis_server.url}'}}"
    members = f"redis: {{set: '{unique_name}-vip', every: 1s, url: '{redis_server.url}'}}"
    vip = f"  vip: {{kind: segments, segment: vip, {members}}}\n"
    settings = with_source(source).replace("events:\n", f"{vip}events:\n", 1)
    plan = PLAN.replace("1h", "1s") + "audience: {segments: [vip]}\n"
    folder = write_project(tmp_path, {"unpaid": plan}, settings)
    path = folder / "out" / "push.jsonl"

    def told() -> list[str]:
        return sorted(json.loads(line)["user_id"] for line in path.read_text().splitlines()) if path.exists() else []

    with redis_server.client() as client:

        def view(*users: str) -> None:
            for user in users:
                client.xadd(unique_name, {"user_id": user, "event": "product_view", "ts": now(), "sku": "A"})

        client.sadd(f"{unique_name}-vip", "a1", "a2")
        with started(folder, "--epoch", "0.3", verb="run") as process:
            view("warm-up")
            assert wait_for(has_read(folder, 3), process), process.communicate()
            time.sleep(4)
            view("a1", "b1")
            assert wait_for(lambda: told() == ["a1"], process), process.communicate()
        client.srem(f"{unique_name}-vip", "a2")
        client.sadd(f"{unique_name}-vip", "b2")
        with started(folder, "--epoch", "0.3", verb="run") as process:
            assert wait_for(has_read(folder, 2), process), process.communicate()
            time.sleep(4)
            view("a1", "a2", "b1", "b2")
            assert wait_for(lambda: told() == ["a1", "a1", "b2"], process), (told(), process.communicate())
            time.sleep(2)
            stop(process)
    assert told() == ["a1", "a1", "b2"]


def test_a_server_that_has_moved_is_gone_on_with(kafka_broker: Broker, unique_name: str, tmp_path: Path) -> None:
    """How a server is reached, and with which secrets, is not what the run is of. What is read is: the topic."""
    shop = Shop(tmp_path / "shop", kafka_broker, unique_name, partitions=1)
    settings = shop.folder / "flowops.yaml"
    with shop.run() as process:
        shop.send("u1", "product_view", now() - 2 * HOUR)
        shop.wait(process, "u1")
        stop(process)
    before = settings.read_text()
    broker = kafka_broker.bootstrap
    moved = before.replace(f"'{broker}'", f"'{broker.replace('127.0.0.1', 'localhost')}', 'kafka-2.invalid:9092'")
    assert moved != before
    settings.write_text(f"# moved\n{moved}")
    with shop.run() as process:
        shop.send("u2", "product_view", now())
        assert wait_for(has_read(shop.folder, 1), process), process.communicate()
        assert "resumed=true" in stop(process)
    other = kafka_broker.create_topic(f"{unique_name}-other")
    settings.write_text(moved.replace(f"topic: {unique_name}", f"topic: {other}"))
    assert "rule file flowops.yaml changed" in refused(2, "run", "--project", shop.folder)
    settings.write_text(moved.replace("out/push.jsonl", "out/other.jsonl"))
    assert "rule file flowops.yaml changed" in refused(2, "run", "--project", shop.folder)
