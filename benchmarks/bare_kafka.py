"""A topic consumed and decoded by hand, with nothing around it: what confluent-kafka and msgspec can do here.

All partitions from their beginning, in large batches, into the fields that J1s needs; the events that its plan hears
are counted. Nothing is kept in order, nothing is written, no position is committed.
"""

from __future__ import annotations

import argparse
import json

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from loops import ORDER, VIEW, CategoryEvent
from projects import CATEGORY

BATCH = 10_000


def consume(bootstrap: str, topic: str, events: int) -> int:
    """Read the first `events` messages of the topic; how many of them J1s hears."""
    options = {
        "bootstrap.servers": bootstrap,
        "group.id": "bare",
        "enable.auto.commit": False,
        "fetch.min.bytes": 100_000,
        "fetch.queue.backoff.ms": 10,  # with the client's own second it waits as soon as its queue has been full
    }
    consumer = Consumer(options)
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    decode = msgspec.json.Decoder(CategoryEvent).decode
    read = heard = 0
    while read < events:
        messages = consumer.consume(BATCH, timeout=10)
        if not messages:
            raise SystemExit(f"{topic} gave {read:,} of {events:,} messages")
        for message in messages:
            error = message.error()
            if error is not None:
                raise SystemExit(str(error))
            e = decode(message.value() or b"")
            if e.event == ORDER or (e.event == VIEW and e.category == CATEGORY):
                heard += 1
        read += len(messages)
    consumer.close()
    return heard


def main() -> None:
    """Consume and print the count."""
    parser = argparse.ArgumentParser(description="Consume and decode a topic by hand.")
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("events", type=int)
    given = parser.parse_args()
    print(json.dumps({"heard": consume(given.bootstrap, given.topic, given.events)}))


if __name__ == "__main__":
    main()
