"""What goes wrong around a live run: it says so clearly, loses nothing, and goes on when the fault has passed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from live_shop import PLAN, Shop, now, stop
from project import has_read, outcomes, refused, rows_of, wait_for

from channels.desk import PLAN as AT_ONCE
from channels.desk import command, write_channel
from channels.endpoint import Endpoint, Reply
from channels.receivers import KafkaReceiver, RedisReceiver
from flowops.channels.base import ACCEPTED, WRITERS
from flowops.errors import StateError
from flowops.streaming.inputs import Inputs
from flowops.streaming.job import load_job
from flowops.streaming.journal import NAME, Journal, Journals, segments, with_journal
from flowops.streaming.readers import Readers
from flowops.streaming.statefolder import StateFolder
from servers.kafka import Broker
from servers.redis import RedisServer
from servers.skip import running

GONE = float(os.environ.get("FLOWOPS_GONE", "6"))
"""Seconds for which a broker is gone; `make chaos` takes some minutes."""


class Log:
    """Views that happen now, in a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0

    def grow(self, events: int) -> None:
        with self._path.open("a") as file:
            for number in range(self.count, self.count + events):
                event = {"event_id": f"e{number}", "user_id": f"u{number}", "event": "product_view", "ts": now()}
                file.write(json.dumps({**event, "sku": "A"}) + "\n")
        self.count += events


@contextmanager
def watched(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """A live run, and what it has said so far."""
    log = folder.parent / f"{folder.name}.log"
    with log.open("w") as words:
        command = ("-m", "flowops.cli.main", "run", "--project", str(folder), "--epoch", "0.2", *options)
        process = subprocess.Popen(
            [sys.executable, *command], stdout=words, stderr=words, text=True, start_new_session=True
        )
    try:
        yield process, log.read_text
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert "Traceback" not in log.read_text()
        assert "panicked" not in log.read_text()


def told(folder: Path, query: str) -> list[tuple[object, ...]]:
    """What the outcomes answer that are published by now; nothing while there are none."""
    with suppress(duckdb.Error):
        return rows_of(folder, query)
    return []


def end(process: subprocess.Popen[str], said: Callable[[], str]) -> None:
    process.terminate()
    assert process.wait(60) == 0, said()


# --- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted, only root may: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 65536) == 65536:
            pass
    return ballast


def test_while_the_disk_is_full_workers_die_of_it_and_when_there_is_room_all_goes_on(
    small_disk: Path, tmp_path: Path
) -> None:
    """State, ledger, journal, clock and outcomes lie on it, and none is torn: each message counts once (S32, S40)."""
    endpoint = Endpoint()
    channel = {"type": "webhook", "url": endpoint.url, "receipts": {"undelivered_after": "1d"}}
    folder = write_channel(small_disk, channel)
    log = Log(tmp_path / "web.jsonl")
    log.grow(100)
    settings = folder / "flowops.yaml"
    settings.write_text(settings.read_text().replace("data/*.jsonl", str(tmp_path / "web.jsonl")))
    with watched(folder, "--processes", "2") as (process, said):
        assert wait_for(lambda: len(endpoint.accepted) >= 50, process), said()
        ballast = fill(small_disk)
        while said().count("worker died") < 2:
            log.grow(10)
            assert process.poll() is None, said()
            time.sleep(0.2)
        ballast.unlink()
        log.grow(10)
        assert wait_for(lambda: len(endpoint.accepted) == log.count, process), said()
        receipts = "select count(*), count(distinct dispatch_id) from receipts where receipt = 'accepted'"
        assert wait_for(lambda: told(folder, receipts) == [(log.count, log.count)], process), said()
        end(process, said)
    endpoint.stop()
    deaths = [line for line in said().splitlines() if "worker died" in line]
    for line in deaths:
        assert "No space left on device" in line or "disk is full" in line, line
        assert "ake room" in line, line
    ids = Counter(json.loads(request.body)["dispatch_id"] for request in endpoint.first.values())
    assert set(ids.values()) == {1}
    assert len(ids) == log.count
    assert rows_of(folder, "select count(*), count(distinct dispatch_id) from dispatches") == [(log.count, log.count)]


# --- a damaged state


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A live run that was killed: some messages accepted, some in flight, the wall clock moved on."""
    endpoint = Endpoint(lambda request, _: Reply(503 if int(json.loads(request.body)["user_id"][1:]) % 2 else 200))
    folder = tmp_path_factory.mktemp("interrupted") / "shop"
    write_channel(folder, {"type": "webhook", "url": endpoint.url, "receipts": {"undelivered_after": "1d"}})
    log = Log(folder / "data" / "web.jsonl")
    state = folder / ".flowops"
    with watched(folder) as (process, said):
        for _ in range(2):
            log.grow(50)
            assert wait_for(lambda: len(endpoint.accepted) >= log.count // 2, process), said()
        assert wait_for(lambda: sum(path.stat().st_size for path in state.glob("journal/*")) > 5000, process), said()
        time.sleep(2)
    endpoint.stop()
    return folder


def largest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(f".flowops/{pattern}"), key=lambda path: path.stat().st_size)


def garbled(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + b"\x00\xffXX" * (third // 4) + data[third + third // 4 * 4 :]


@pytest.mark.parametrize(
    ("pattern", "spoil"),
    [
        ("clock/*", lambda _: b""),
        ("flight/*.log", garbled),
        ("journal/*", lambda data: data[: len(data) // 2]),
        ("ledger/*.sqlite3", lambda _: b""),
        ("ledger/*.sqlite3", garbled),
        ("shards/*.log", lambda data: bytes(len(data))),
        ("recovery/part-0.sqlite3", garbled),
    ],
    ids=["clock", "flight", "journal", "empty ledger", "ledger", "shard", "recovery"],
)
def test_a_damaged_file_of_the_state_is_refused_with_what_to_try(
    interrupted: Path, tmp_path: Path, pattern: str, spoil: Callable[[bytes], bytes]
) -> None:
    """Never a traceback, never a run that has lost what stood there, never tried again and again."""
    folder = shutil.copytree(interrupted, tmp_path / "shop")
    path = largest(folder, pattern)
    path.write_bytes(spoil(path.read_bytes()))
    said = refused(2, "run", "--project", folder)
    assert str(path) in said
    assert any(words in said for words in (" is damaged", " bytes where ")), said
    assert "put it back" in said
    assert said.count("\n") == 1


def drive(readers: list[Any]) -> None:
    for _ in range(100):
        for reader in readers:
            reader.next_batch()


def test_a_journal_that_is_damaged_where_it_was_not_read_yet_is_refused(tmp_path: Path) -> None:
    """It is no input of which a bad line might be a dead letter: this engine wrote it."""
    channel = {"type": "webhook", "url": "http://127.0.0.1:1/", "receipts": {"undelivered_after": "1d"}}
    job = load_job(write_channel(tmp_path, channel))
    state = StateFolder(tmp_path / ".flowops")
    state.path.mkdir()
    state.begin_pace(writers=False)
    project = with_journal(job.project)
    for writer in range(WRITERS):
        journal = Journal(state.journal, writer, 0)
        journal.append([(command(number), ACCEPTED) for number in range(3)], now() * 1000)
        journal.close()
    [(_, path)] = segments(state.journal, 2)
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, garbled(others[0]), *others[1:]]))
    journals = Journals(state.journal, project.sources[-1])
    inputs = Inputs(project, tmp_path, {}, follow=True, own={NAME: journals})
    source = Readers(inputs, state, lambda: False)
    readers = [source.build_part("", name, None) for name in source.list_parts()]
    with pytest.raises(StateError, match=r"/writer-2-0{16}\.jsonl is damaged in line 2 from byte 0 on .*put it back"):
        drive(readers)
    for reader in readers:
        reader.close()


# --- topics


@pytest.fixture
def shop(tmp_path: Path, kafka_broker: Broker, unique_name: str) -> Shop:
    shop = Shop(tmp_path / "shop", kafka_broker, unique_name, partitions=1)
    (shop.folder / "rules" / "unpaid.yaml").write_text(PLAN.replace("1h", "1s"))
    return shop


def delete(shop: Shop) -> None:
    admin = shop.broker.admin()
    admin.delete_topics([shop.topic])[shop.topic].result(30)


def make_anew(shop: Shop, records: int) -> None:
    shop.broker.create_topic(shop.topic, partitions=1)
    shop.producer = shop.broker.producer()  # the other one knows the old topic
    for number in range(records):
        shop.send(f"v{number}", "product_view", now())


@pytest.mark.parametrize("records", [1, 5], ids=["fewer", "more"])
def test_a_topic_that_was_made_anew_meanwhile_is_refused(shop: Shop, records: int) -> None:
    """Its offsets mean nothing in the new one, of which the first records would be skipped; `--fresh` reads all."""
    for number in range(3):
        shop.send(f"u{number}", "product_view", now())
    with shop.run() as process:
        shop.wait(process, "u0", "u1", "u2")
        time.sleep(1)
        stop(process)
    delete(shop)
    time.sleep(1)
    make_anew(shop, records)
    said = refused(2, "run", "--project", shop.folder)
    assert f"the topic `{shop.topic}` is not the one that was read: it was deleted and made anew" in said
    assert "--fresh" in said
    with shop.run("--fresh") as process:
        shop.wait(process, *(f"v{number}" for number in range(records)))


def test_a_topic_that_is_deleted_under_way_is_waited_for_and_another_one_ends_the_run(shop: Shop) -> None:
    """Nobody knows what was in it; nothing of another topic is taken for its rest."""
    with watched(shop.folder) as (process, said):
        for number in range(2):
            shop.send(f"u{number}", "product_view", now())
        shop.wait(process, "u0", "u1")
        shop.send("u2", "product_view", now())
        assert wait_for(has_read(shop.folder, 3), process), said()
        delete(shop)
        assert wait_for(lambda: "source waits for Kafka" in said(), process), said()
        assert f"no broker has the topic {shop.topic}" in said()
        time.sleep(3)
        make_anew(shop, 5)
        assert process.wait(30) == 2, said()
    assert f"the topic `{shop.topic}` is not the one that was read" in said()
    assert set(shop.messages()) <= {"u0", "u1", "u2"}


def test_messages_wait_for_a_topic_that_is_not_there(tmp_path: Path, kafka_broker: Broker, unique_name: str) -> None:
    receiver = KafkaReceiver(kafka_broker, unique_name, make=False)
    folder = write_channel(tmp_path / "shop", receiver.channel)
    log = Log(folder / "data" / "web.jsonl")
    log.grow(20)
    with watched(folder) as (process, said):
        assert wait_for(lambda: "messages wait" in said(), process), said()
        assert f'channel=push reason="there is no topic {unique_name}: make it, and they go on"' in said()
        kafka_broker.create_topic(unique_name, partitions=3)
        log.grow(20)
        assert wait_for(lambda: len(receiver.arrived()) == log.count, process), said()
        assert wait_for(lambda: "messages go on" in said(), process)
        end(process, said)
    assert len({each.dispatch_id for each in receiver.arrived()}) == log.count


# --- servers


def test_while_the_broker_is_gone_nothing_is_lost_in_or_out(tmp_path: Path) -> None:
    """Source and channel are both on it; it dies (SIGKILL) with messages under way, and comes back."""
    with running(Broker()) as broker:
        shop = Shop(tmp_path / "shop", broker, "web", partitions=2)
        receiver = KafkaReceiver(broker, "push")
        settings = (shop.folder / "flowops.yaml").read_text()
        settings = settings.replace(
            "{type: file, path: out/push.jsonl, receipts: assumed}", json.dumps(receiver.channel)
        )
        (shop.folder / "flowops.yaml").write_text(settings)
        (shop.folder / "rules" / "unpaid.yaml").write_text(AT_ONCE)
        with watched(shop.folder, "--processes", "2") as (process, said):
            for number in range(40):
                shop.send(f"u{number}", "product_view", now(), number % 2)
            assert wait_for(lambda: len(receiver.arrived()) == 40, process), said()
            for number in range(40, 80):
                shop.send(f"u{number}", "product_view", now(), number % 2)
            broker.kill()
            assert wait_for(lambda: "source waits for Kafka" in said(), process), said()
            time.sleep(GONE)
            broker.start()
            shop.producer = broker.producer()
            shop.send("nobody", "order", now())  # the producer connects; what it had stamped before would be late (S6)
            for number in range(80, 120):
                shop.send(f"u{number}", "product_view", now(), number % 2)
            came = wait_for(lambda: len(receiver.arrived()) >= 120, process, 120, lambda: (receiver.arrived(), said()))
            assert came, said()
            time.sleep(1)
            end(process, said)
        assert Counter(each.user_id for each in receiver.arrived()) == Counter(f"u{number}" for number in range(120))
    assert "worker died" not in said()
    assert outcomes(shop.folder)["dispatches"][0] == 120


def on_redis(folder: Path, server: RedisServer, channel: dict[str, object]) -> Log:
    """A project whose ledger is on the server, too."""
    write_channel(folder, channel, more=f"ledger: {{redis: {{url: '{server.url}'}}}}\n")
    return Log(folder / "data" / "web.jsonl")


def test_while_redis_is_full_messages_wait(tmp_path: Path) -> None:
    """`maxmemory` reached, of the channel and the ledger: it is said, nothing is lost, and with room it goes on."""
    with running(RedisServer()) as server, server.client() as client:
        receiver = RedisReceiver(server, "push")
        log = on_redis(tmp_path / "shop", server, receiver.channel)
        log.grow(20)
        with watched(tmp_path / "shop", "--processes", "2") as (process, said):
            assert wait_for(lambda: len(receiver.arrived()) == 20, process), said()
            client.config_set("maxmemory", "1mb")  # there is more in it already
            assert client.info("memory")["used_memory"] > 1 << 20
            log.grow(50)
            assert wait_for(lambda: "messages wait" in said(), process), said()
            assert "used memory > 'maxmemory'" in said()
            log.grow(50)
            time.sleep(2)
            client.config_set("maxmemory", "0")
            assert wait_for(lambda: len(receiver.arrived()) >= log.count, process), said()
            time.sleep(1)
            end(process, said)
        assert len({each.dispatch_id for each in receiver.arrived()}) == len(receiver.arrived()) == log.count
    assert "worker died" not in said()
    assert "messages go on" in said()


@pytest.mark.parametrize("kind", ["redis", "webhook"])
def test_redis_that_comes_back_empty_is_gone_on_with(tmp_path: Path, kind: str) -> None:
    """As the channel and as the ledger: what it forgot had been answered, and what follows arrives, once."""
    endpoint = Endpoint()
    with running(RedisServer()) as server:
        receiver = RedisReceiver(server, "push")
        channel = {"type": "webhook", "url": endpoint.url, "receipts": "assumed"}
        log = on_redis(tmp_path / "shop", server, receiver.channel if kind == "redis" else channel)

        def arrived() -> int:
            return len(receiver.arrived()) if kind == "redis" else len(endpoint.accepted)

        log.grow(30)
        with watched(tmp_path / "shop") as (process, said):
            assert wait_for(lambda: arrived() == 30, process), said()
            time.sleep(1)  # some epochs
            server.stop()
            log.grow(30)
            assert wait_for(lambda: "messages wait" in said(), process), said()
            server.start()
            log.grow(30)
            assert wait_for(lambda: arrived() == (60 if kind == "redis" else 90), process), said()
            time.sleep(1)
            assert arrived() == (60 if kind == "redis" else 90)
            end(process, said)
    endpoint.stop()
    assert "worker died" not in said()
    assert set(endpoint.accepted.values()) <= {1}
    assert outcomes(tmp_path / "shop")["dispatches"][0] == log.count


def test_a_poison_message_is_a_dead_letter_and_what_no_broker_takes_is_lost_with_a_reason(
    shop: Shop,
) -> None:
    """S3 on the way in; on the way out a message that is too large fails alone (`send_failed`)."""
    out = KafkaReceiver(shop.broker, f"{shop.topic}-out", make=False)
    shop.broker.create_topic(f"{shop.topic}-out", partitions=3, config={"max.message.bytes": "2000"})
    channel = {**out.channel, "receipts": {"undelivered_after": "1d"}}
    settings = (shop.folder / "flowops.yaml").read_text()
    settings = settings.replace("{type: file, path: out/push.jsonl, receipts: assumed}", json.dumps(channel))
    (shop.folder / "flowops.yaml").write_text(settings)
    (shop.folder / "rules" / "unpaid.yaml").write_text(PLAN.replace("1h", "1s"))
    with watched(shop.folder) as (process, said):
        shop.raw(b"\xff\x00{poison")
        shop.send("u1", "product_view", now())
        large = {"event_id": "e", "user_id": "u2", "event": "product_view", "ts": now(), "sku": "A" * 5000}
        shop.raw(json.dumps(large).encode())
        shop.send("u3", "product_view", now())
        assert wait_for(lambda: {each.user_id for each in out.arrived()} == {"u1", "u3"}, process), said()

        lost = "select user_id, stage from losses"
        assert wait_for(lambda: told(shop.folder, lost) == [("u2", "send_failed")], process), said()
        end(process, said)
    assert rows_of(shop.folder, "select position, reason from dead_letters") == [(0, "unparseable")]
