"""The kafka channel beside its contract: what is on the topic, who took over, what no broker takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from channels.desk import Desk, command, write_channel
from channels.receivers import KafkaReceiver
from flowops.channels.base import WRITERS
from flowops.core.records import shard_of
from flowops.errors import RunError
from servers.kafka import Broker

MakeDesk = Callable[..., Desk]


@pytest.fixture
def receiver(kafka_broker: Broker, unique_name: str) -> KafkaReceiver:
    return KafkaReceiver(kafka_broker, unique_name)


def test_what_a_writer_that_died_left_open_is_aborted_and_sent_again(
    receiver: KafkaReceiver, kafka_broker: Broker, unique_name: str, desk: MakeDesk
) -> None:
    """Its messages stand on the topic, uncommitted: who reads committed sees those of its successor alone."""
    dead = kafka_broker.producer({"transactional.id": f"{unique_name}-0"})
    dead.init_transactions(15)
    dead.begin_transaction()
    commands = [command(number) for number in range(40)]
    for each in commands:
        dead.produce(unique_name, each.body, each.user_id, headers={"dispatch_id": each.dispatch_id})
    dead.flush(15)
    writers = desk(receiver)
    writers.send(commands)
    writers.settle()
    assert sorted(each.dispatch_id for each in receiver.arrived()) == sorted(each.dispatch_id for each in commands)


def test_what_was_sent_behind_an_open_transaction_of_another_writer_is_found(
    receiver: KafkaReceiver, kafka_broker: Broker, unique_name: str, desk: MakeDesk, tmp_path: Path
) -> None:
    """No epoch was committed, so the topic is read from a time on; a broker tells no committed place behind it."""
    users = [user for user in (f"u{number}" for number in range(100)) if shard_of(user) % WRITERS == 0][:12]
    commands = [command(number, user) for number, user in enumerate(users)]
    first = desk(receiver)
    first.send(commands[:1])
    first.settle()
    other = kafka_broker.producer({"transactional.id": f"{unique_name}-other"})
    other.init_transactions(15)
    other.begin_transaction()
    for partition in range(3):
        other.produce(unique_name, b"{}", partition=partition, headers={"dispatch_id": "of another"})
    other.flush(15)
    first.send(commands[1:])
    first.settle()
    write_channel(tmp_path, receiver.channel, more="state: .lost\n")
    second = desk()
    second.send(commands)
    threading.Timer(1.0, other.abort_transaction).start()
    second.settle()
    assert sorted(each.dispatch_id for each in receiver.arrived()) == sorted(each.dispatch_id for each in commands)


def test_what_does_not_fit_into_the_clients_queue_at_once_goes_out_bit_by_bit(
    receiver: KafkaReceiver, desk: MakeDesk, tmp_path: Path
) -> None:
    """A queue that an option made smaller than a transaction."""
    write_channel(tmp_path, {**receiver.channel, "options": {"queue.buffering.max.messages": 10}})
    writers = desk()
    commands = [command(number) for number in range(300)]
    writers.send(commands)
    writers.settle()
    assert sorted(each.dispatch_id for each in receiver.arrived()) == sorted(each.dispatch_id for each in commands)


def test_a_second_engine_takes_over_and_the_first_one_says_so(
    receiver: KafkaReceiver, desk: MakeDesk, tmp_path: Path
) -> None:
    first = desk(receiver)
    first.send([command(1)])
    first.settle()
    write_channel(tmp_path, receiver.channel, more="state: .other\n")
    second = desk()
    second.send([command(2, "u1")])
    second.settle()
    first.send([command(3, "u1")])
    with pytest.raises(RunError, match="another engine sends to the topic"):
        first.wait(lambda: False)


def test_a_message_that_no_broker_takes_has_failed_and_holds_up_no_other(
    receiver: KafkaReceiver, kafka_broker: Broker, unique_name: str, desk: MakeDesk, tmp_path: Path
) -> None:
    """Too large for the client, or for the topic."""
    topic = kafka_broker.create_topic(f"{unique_name}-narrow", config={"max.message.bytes": "1000"})
    write_channel(tmp_path, {**receiver.channel, "topic": topic})
    writers = desk()
    sizes = {1: 100, 2: 5_000, 3: 2_000_000, 4: 100}
    commands = [command(number, "one")._replace(body=b"x" * size) for number, size in sizes.items()]
    writers.send(commands)
    writers.settle()
    assert {line["dispatch_id"]: line["receipt"] for line in writers.journal()} == {
        commands[1].dispatch_id: "failed",
        commands[2].dispatch_id: "failed",
    }
    arrived = KafkaReceiver(kafka_broker, topic, partitions=1, make=False).arrived()
    assert [each.dispatch_id for each in arrived] == [commands[0].dispatch_id, commands[3].dispatch_id]
