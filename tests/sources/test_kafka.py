"""Kafka topics as sources: what only they have."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewPartitions
from kit import source
from logs import COLUMNS, WHERE, KafkaLog, Reading, fresh, view

from flowops.core.intake import Intake
from flowops.core.records import SHARDS
from flowops.errors import ConfigError, InputError, RunError
from flowops.settings.secrets import parse_filled
from flowops.sources import KafkaSettings, connect, kafka_client
from servers.kafka import Broker
from servers.skip import running


@pytest.fixture
def log(kafka_broker):
    return KafkaLog(kafka_broker)


@pytest.fixture
def opened():
    """Opens a log's partition; all are closed in the end."""
    partitions = []

    def open_at(log, position=None, *, where=WHERE, number=0, **options) -> Reading:
        connector = options.pop("connector", None) or log.connect(where, **options)
        partition = connector.open(f"{log.topic}[{number}]", position)
        partitions.append(partition)
        return Reading(partition, where)

    yield open_at
    for partition in partitions:
        partition.close()


def test_offsets_are_positions_and_may_have_gaps(log, opened):
    """What a transaction took back does not count; its markers are offsets without a record, also the last."""
    producer = log.broker.producer({"transactional.id": fresh()})
    producer.init_transactions(30)
    for numbers, keep in (((0, 1), True), ((2, 3), False), ((4,), True)):
        producer.begin_transaction()
        for number in numbers:
            producer.produce(log.topic, value=view(number), partition=0)
        assert producer.flush(30) == 0
        if keep:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    reading = opened(log)
    reading.rows_until(3)
    assert reading.positions == [0, 1, 6]
    reading.until(lambda: reading.partition.position() == (8,))
    began = time.time_ns() // 1000
    reading.until(lambda: (reading.partition.caught_up_at() or 0) > began)
    assert len(reading.rows) == 3


def test_an_open_transaction_is_not_read_past(log, opened):
    """Its records come when it is committed, none of those behind it before."""
    producer = log.broker.producer({"transactional.id": fresh()})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(log.topic, value=view(0), partition=0)
    producer.flush(30)
    log.append(view(1))
    reading = opened(log)
    assert reading.is_quiet(1)
    producer.commit_transaction(30)
    reading.rows_until(2)
    assert reading.positions == [0, 1]


def test_an_event_without_an_id_is_named_by_topic_partition_and_offset(log, opened):
    """S1."""
    log.append(view(0))
    reading = opened(log)
    chunk = None
    while chunk is None:
        chunk = reading.partition.read(1000)
    heard = dataclasses.replace(WHERE, routes={"view": lambda _: ((0,), ())})
    records = [[] for _ in range(SHARDS)]
    Intake(0, heard, reading.partition.name).take(chunk, records, [[] for _ in range(SHARDS)])
    assert [record[4] for shard in records for record in shard] == [f"web/{log.topic}[0]:0"]


def test_a_tombstone_deletes_a_profile_and_is_a_dead_letter_elsewhere(log, opened):
    """S2, S3: of a compacted topic; the key names the user, the record's own time is when."""
    where = source(kind="profiles", columns={"tier": "string", "city": "string"})
    update = json.dumps({"user_id": "u1", "ts": 5, "tier": "gold"}).encode()
    log.append(update, None, None, keys=[b"u1", b"u1", None], ms=1_650_000_000_000)
    profiles = opened(log, where=where)
    profiles.until(lambda: len(profiles.rows) == 3)
    assert profiles.rows[1] == ("u1", "", None, 1_650_000_000_000_000, None, None)
    assert [(letter.position, letter.reason) for letter in profiles.dead] == [(2, "missing_field")]
    events = opened(log)
    events.until(lambda: len(events.rows) == 3)
    assert [(letter.position, letter.reason) for letter in events.dead][1:] == [(1, "unparseable"), (2, "unparseable")]
    assert "tombstone" in events.dead[1].detail


def test_a_profile_without_times_is_deleted_where_the_tombstone_stands(log, opened):
    where = source(kind="profiles", columns={"tier": "string"}, time=dataclasses.replace(WHERE.time, path=None))
    log.append(b'{"user_id": "u1", "tier": "gold"}', None, keys=[b"u1", b"u1"])
    reading = opened(log, where=where)
    reading.until(lambda: len(reading.rows) == 2)
    assert reading.rows[0][3] == reading.rows[1][3]
    assert [row[4] for row in reading.rows] == ["gold", None]


def test_a_time_too_far_ahead_of_the_broker_is_a_dead_letter(log, opened):
    """S3: exactly `max_future` passes, in whatever unit and however written; without the bound all do."""
    where = dataclasses.replace(WHERE, max_future=600_000_000)
    stamp = 1_650_000_000_000
    bound = stamp * 1000 + 600_000_000
    records = [view(0, ts=bound), view(1, ts=bound + 1), view(2, ts=0), view(3, ts=str(bound + 1)), b"{", view(5, ts=1)]
    log.append(*records, ms=stamp)
    reading = opened(log, where=where)
    reading.until(lambda: len(reading.rows) == 6)
    assert [(letter.position, letter.reason) for letter in reading.dead] == [
        (1, "in_future"), (3, "in_future"), (4, "unparseable"),
    ]  # fmt: skip
    assert "2022-04-15T05:20:00" in reading.dead[0].detail
    unchecked = opened(log)
    unchecked.until(lambda: len(unchecked.rows) == 6)
    assert unchecked.rows[1] is not None


def test_a_record_over_a_mebibyte_is_a_dead_letter(kafka_broker, opened):
    """S3: one of exactly so many bytes is read."""
    log = KafkaLog(kafka_broker, config={"max.message.bytes": "4000000"})
    log.producer = kafka_broker.producer({"message.max.bytes": 4_000_000})
    whole = view(0, extra="")
    exact = view(0, extra="x" * ((1 << 20) - len(whole)))
    log.append(exact, exact.replace(b"xx", b"xxx", 1), view(2))
    reading = opened(log)
    reading.rows_until(3)
    assert [(letter.position, letter.reason) for letter in reading.dead] == [(1, "too_large")]
    assert len(reading.dead[0].sample) == 200


def test_partitions_that_wait_are_paused_and_lose_nothing(kafka_broker, opened, monkeypatch):
    """Of unequal length, one read long before the others: each record comes once, and what is read ahead is bounded."""
    monkeypatch.setattr(kafka_client, "_ROOM", 0)  # so each has the least
    log = KafkaLog(kafka_broker, partitions=3)
    counts = (90_000, 50, 45_000)
    for number, count in enumerate(counts):
        log.append(*(view(n) for n in range(count)), partition=number)
    connector = log.connect()
    readings = [opened(log, number=number, connector=connector) for number in range(3)]
    for reading in readings:
        reading.read(1)
    readings[1].until(lambda: len(readings[1].rows) == 50)
    readings[2].until(lambda: len(readings[2].rows) == 45_000, seconds=60)
    inboxes = [reading.partition._inbox for reading in readings]
    readings[1].until(lambda: inboxes[0].paused, seconds=60)  # one at its end still takes in what comes for the others
    assert all(inbox._bytes < kafka_client._LEAST_ROOM + 10_000 * 600 for inbox in inboxes)
    for reading, count in zip(readings, counts, strict=True):
        reading.until(lambda reading=reading, count=count: len(reading.rows) >= count, seconds=60)
        assert reading.positions == list(range(count))


def test_where_an_offset_has_gone_a_topic_that_was_made_anew_is_told_as_such(log, opened):
    """The broker may refuse the old offset before the id has been asked for again."""
    log.append(view(0))
    reading = opened(log, (99,))
    reading.partition._client.topic_id = "the-one-that-was-read"
    with pytest.raises(InputError, match=r"is not the one that was read(.|\n)*--fresh"):
        reading.rows_until(1)


def test_a_position_that_retention_has_passed_is_an_error_and_no_jump(log, opened):
    """So is one beyond the end, as after a topic was made anew."""
    log.append(*map(view, range(10)))
    admin = log.broker.admin()
    for future in admin.delete_records([TopicPartition(log.topic, 0, 6)]).values():
        future.result(30)
    assert opened(log).rows_until(4)[0][3] == 6_000_000  # a run that begins takes what there is
    for offset in (3, 99):
        reading = opened(log, (offset,))
        with pytest.raises(InputError, match=rf"no record at offset {offset} any more.*it has 6 to 9"):
            reading.until(lambda: False, seconds=20)


def test_a_bounded_partition_ends_where_it_ended_when_the_run_began(kafka_broker, opened):
    """Also an empty one, one whose end is a transaction's marker, and one that has grown since."""
    log = KafkaLog(kafka_broker, partitions=3)
    log.append(*map(view, range(5)))
    producer = kafka_broker.producer({"transactional.id": fresh()})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(log.topic, value=view(0), partition=1)
    producer.commit_transaction(30)
    bounds = log.connect(follow=False).ends()
    assert bounds == {f"{log.topic}[0]": (5,), f"{log.topic}[1]": (2,), f"{log.topic}[2]": (0,)}
    log.append(view(5))
    connector = log.connect(follow=False, bounds=bounds)
    for number, count in ((0, 5), (1, 1), (2, 0)):
        reading = opened(log, number=number, connector=connector)
        reading.until(lambda reading=reading: not reading.read() and reading.partition.ended(), limit=100)
        assert len(reading.rows) == count


def test_what_was_saved_is_shown_as_the_groups_offset(log, opened):
    """For monitoring; nothing is read from there."""
    log.append(*map(view, range(8)))
    reading = opened(log, group=log.topic)
    reading.rows_until(8)
    reading.partition.saved((5,))
    watcher = Consumer({**log.broker.client_config, "group.id": log.topic, "log_level": 0})
    try:
        end = time.monotonic() + 20
        while watcher.committed([TopicPartition(log.topic, 0)], timeout=10)[0].offset != 5:
            assert time.monotonic() < end
            time.sleep(0.2)
    finally:
        watcher.close()
    assert opened(log, group=log.topic).rows_until(8)


def test_a_partition_that_is_added_is_found(kafka_broker, opened):
    log = KafkaLog(kafka_broker)
    options = {"topic.metadata.refresh.interval.ms": parse_filled("300")}
    connector = log.connect(options=options)
    assert list(connector.partitions()) == [f"{log.topic}[0]"]
    opened(log, connector=connector).read(100)
    admin = kafka_broker.admin()
    admin.create_partitions([NewPartitions(log.topic, 3)])[log.topic].result(30)
    end = time.monotonic() + 20
    while len(connector.partitions()) < 3:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert connector.partitions() == {f"{log.topic}[{number}]": number for number in range(3)}


# What is refused when a run begins


def refused(settings: KafkaSettings) -> str:
    with pytest.raises(ConfigError) as error:
        connect(Path(), source(columns=COLUMNS), settings, follow=True).partitions()
    return str(error.value)


def test_a_topic_that_is_not_there_is_refused_with_what_looks_like_it(kafka_broker):
    name = fresh("orders")
    kafka_broker.create_topic(name)
    said = refused(KafkaSettings(topic=name.replace("orders", "order"), brokers=[kafka_broker.bootstrap]))
    assert "source `web`: there is no topic `order-" in said
    assert f"did you mean `{name}`?" in said
    assert name.replace("orders", "order") not in kafka_broker.admin().list_topics(timeout=10).topics


@pytest.fixture
def impatient(monkeypatch):
    """Gives a broker two seconds to answer, not ten, when a run begins."""
    monkeypatch.setattr("flowops.sources.kafka_client._WAIT", 2.0)


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_does_not_answer_is_refused_after_a_while():
    began = time.monotonic()
    said = refused(KafkaSettings(topic="web", brokers=["127.0.0.1:9"]))
    assert time.monotonic() - began < 7
    assert "no Kafka broker answers at 127.0.0.1:9 within 2 s" in said
    assert "refused" in said


def test_options_pass_through_and_a_wrong_one_is_named(kafka_broker):
    said = refused(
        KafkaSettings(topic="web", brokers=[kafka_broker.bootstrap], options={"fetch.max": parse_filled("1")})
    )
    assert "fetch.max" in said


@pytest.mark.usefixtures("impatient")
def test_secrets_are_read_when_the_connection_is_made_and_never_said(monkeypatch):
    """SASL, with the password out of the environment; a wrong one is refused without repeating it."""
    with running(Broker(sasl={"shop": "hunter2"})) as broker:
        topic = broker.create_topic("web")
        options = {
            "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "shop",
            "sasl.password": "${SHOP_PASSWORD}",
        }  # fmt: skip
        settings = KafkaSettings(
            topic=topic, brokers=[broker.bootstrap], options={k: parse_filled(v) for k, v in options.items()}
        )
        assert "SHOP_PASSWORD" in refused(settings)
        monkeypatch.setenv("SHOP_PASSWORD", "wrong-one")
        said = refused(settings)
        assert "uthentication failed" in said
        assert "wrong-one" not in said
        monkeypatch.setattr("flowops.sources.kafka_client._WAIT", 10.0)
        monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
        assert list(connect(Path(), WHERE, settings, follow=True).partitions()) == ["web[0]"]
        assert "hunter2" not in repr(settings) + settings.model_dump_json()


def test_whatever_befalls_the_thread_that_asks_is_told(log, opened, monkeypatch):
    """A thread that ended in silence would let time stand still for ever."""
    reading = opened(log)

    def broken(*_):
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr(kafka_client.TopicClient, "_ask_ends", broken)
    with pytest.raises(RunError, match="RuntimeError: what nobody thought of"):
        reading.until(lambda: False, seconds=10)


def test_an_option_that_is_refused_shows_no_secret(monkeypatch):
    """A password in the wrong place is still one."""
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2-of-kafka")
    options = {"sasl.mechanisms": parse_filled("${KAFKA_PASSWORD}"), "security.protocol": parse_filled("SASL_SSL")}
    said = refused(KafkaSettings(topic="web", brokers=["127.0.0.1:1"], options=options))
    assert "Unsupported SASL mechanism: ***" in said
