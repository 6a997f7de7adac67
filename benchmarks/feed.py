"""Put events into a topic: a log as fast as it goes, or made-up ones at a rate, as they happen."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from confluent_kafka import Producer

from generator import CATEGORIES, SKUS

_TICK = 0.005
_USER = b'"user_id":"'


def producer(bootstrap: str, linger: int) -> Producer:
    """One that loses nothing, and waits `linger` milliseconds for a batch to fill."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": linger,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 500_000,
        }
    )


def load(bootstrap: str, topic: str, partitions: int, lines: Iterable[bytes]) -> int:
    """All lines of a log into the topic, each user's into one partition, in order; how many."""
    sender = producer(bootstrap, 20)
    count = 0
    for count, line in enumerate(lines, 1):
        begin = line.index(_USER) + len(_USER)
        user = line[begin : line.index(b'"', begin)]
        while True:
            try:
                sender.produce(topic, line[:-1], user, crc32(user) % partitions)
                break
            except BufferError:
                sender.poll(0.1)
        if not count % 10_000:
            sender.poll(0)
    if left := sender.flush(60):
        raise SystemExit(f"{left:,} messages were not taken")
    return count


def live(bootstrap: str, topic: str, partitions: int, rate: int, seconds: float, users: int) -> int:
    """`rate` orders a second for so long, each with the time at which it is sent; how many."""
    sender = producer(bootstrap, 5)
    draw = random.Random(1)
    began = time.time()
    sent = 0
    while (passed := time.time() - began) < seconds:
        now = int(time.time() * 1000)
        for number in range(sent, int(passed * rate)):
            user = f"u{draw.randrange(users):07d}"
            sku = draw.randrange(SKUS)
            line = (
                f'{{"event_id":"e{number:09d}","user_id":"{user}","event":"order","ts":{now},"sku":"s{sku:05d}",'
                f'"category":"c{sku % CATEGORIES}","amount":{sku / 10:.2f},"page":"/shop/c/s{sku:05d}.html",'
                f'"session":"web-{sku:08x}"}}'
            )
            sender.produce(topic, line, user, crc32(user.encode()) % partitions)
            sent = number + 1
        sender.poll(0)
        time.sleep(_TICK)
    if left := sender.flush(60):
        raise SystemExit(f"{left:,} messages were not taken")
    return sent


def main() -> None:
    """Feed one topic and print how many events it got."""
    parser = argparse.ArgumentParser(description="Put events into a topic.")
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--log", type=Path, help="all lines of this file, as fast as it goes")
    parser.add_argument("--rate", type=int, default=20_000, help="without a log: orders a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--users", type=int, default=100_000)
    given = parser.parse_args()
    if given.log is None:
        print(live(given.bootstrap, given.topic, given.partitions, given.rate, given.seconds, given.users))
    else:
        with given.log.open("rb") as lines:
            print(load(given.bootstrap, given.topic, given.partitions, lines))


if __name__ == "__main__":
    main()
