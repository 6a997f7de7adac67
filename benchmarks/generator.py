"""Made-up event logs for the benchmarks: seeded, so that the same arguments give the same bytes on any machine.

Every line is a shop event of about 190 bytes. Users follow Zipf's law, the log covers 24 hours, and it is mostly in
time order: one line in twenty was delayed by up to 5 seconds, as much as the projects' `out_of_orderness` allows, so
no record is late. Logs are kept outside the project, in `$XDG_CACHE_HOME/flowops-bench`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path

VERSION = 1
"""Part of the cache's key: raise it when a line that is written changes."""

START = 1_650_499_200_000  # 2022-04-21T00:00:00Z, in milliseconds, as all times here
MINUTE = 60_000
HOUR = 60 * MINUTE
DELAY = 5_000
DELAYED = 0.05

CATEGORIES = 24
SKUS = 2_400
ZIPF = 0.8
MIX = {"page_view": 0.22, "search": 0.16, "product_view": 0.38, "add_to_cart": 0.12, "order": 0.12}
"""Shares of the five event names. Plans hear `product_view` and `order`; with these shares and this law a fifth of
the events ends in a dispatch of 'view without an order in 1 h', one wait at a time per user."""

CHUNK = 20_000


@dataclass(frozen=True)
class Log:
    """A log to be made, with the folder name that its arguments give it.

    - `day`: `hours` of shop events of `users` users, `events` lines
    - `pending`: one view of each user, within half an hour, then `events` lines that no plan hears, within the next
      ten minutes: at its end every user has one wait pending
    - `touched`: as `pending`, but of the further lines a share of `heard` are views, by one user after the other: each
      touches the state of another user

    `parts` equal files are written, line by line in turn, so each covers the whole time and all the users.
    """

    kind: str
    events: int
    users: int
    parts: int = 1
    heard: float = 0.0
    hours: int = 24  # of a `day`
    seed: int = 20_220_421

    @property
    def folder(self) -> str:
        name = f"v{VERSION}-{self.kind}-{self.events}-{self.users}-{self.parts}-{self.seed}"
        if self.kind == "day":
            return f"{name}-{self.hours}h"
        return f"{name}-{self.heard:g}"

    def lines(self) -> Iterator[str]:
        """The lines, each with its newline."""
        if self.kind == "day":
            return _day(self)
        return _waits(self)


def cache() -> Path:
    """Where logs are kept: `$XDG_CACHE_HOME/flowops-bench`, by default under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowops-bench"


def make(log: Log, root: Path | None = None) -> list[Path]:
    """The log's files, in the order of their names; written unless they are there already."""
    folder = (root or cache()) / log.folder
    if not folder.exists():
        building = folder.with_name(f"{folder.name}.building-{os.getpid()}")
        building.mkdir(parents=True)
        try:
            _write(log, building)
            building.rename(folder)
        except BaseException:
            shutil.rmtree(building)
            raise
    return sorted(folder.glob("*.jsonl"))


def _write(log: Log, folder: Path) -> None:
    files = [(folder / f"web-{part}.jsonl").open("w", encoding="ascii", newline="\n") for part in range(log.parts)]
    try:
        lines = log.lines()
        while chunk := list(islice(lines, CHUNK * log.parts)):
            for part, file in enumerate(files):
                file.write("".join(chunk[part :: log.parts]))
    finally:
        for file in files:
            file.close()


def _line(number: int, user: int, event: str, ts: int, item: str) -> str:
    session = (user * 2_654_435_761 + ts // (30 * MINUTE)) & 0xFFFFFFFF
    return (
        f'{{"event_id":"e{number:09d}","user_id":"u{user:07d}","event":"{event}","ts":{ts},{item},'
        f'"session":"web-{session:08x}"}}\n'
    )


def _items(rng: random.Random) -> tuple[list[str], list[str]]:
    """What an event says of each product: with `price`, and with `amount` as orders have it."""
    views, orders = [], []
    for sku in range(SKUS):
        category = sku % CATEGORIES
        price = rng.randrange(100, 20_000) / 100
        head = f'"sku":"s{sku:05d}","category":"c{category}",'
        page = f'"page":"/shop/c{category}/s{sku:05d}.html"'
        views.append(f'{head}"price":{price:.2f},{page}')
        orders.append(f'{head}"amount":{price:.2f},{page}')
    return views, orders


def _day(log: Log) -> Iterator[str]:
    rng = random.Random(log.seed)
    views, orders = _items(rng)
    weights = list(accumulate(1 / rank**ZIPF for rank in range(1, log.users + 1)))
    names, mix = list(MIX), list(accumulate(MIX.values()))
    span = log.hours * HOUR
    everybody, skus = range(log.users), range(SKUS)
    for first in range(0, log.events, CHUNK):
        count = min(CHUNK, log.events - first)
        users = rng.choices(everybody, cum_weights=weights, k=count)
        events = rng.choices(names, cum_weights=mix, k=count)
        bought = rng.choices(skus, k=count)
        delays = rng.choices((0, 1), cum_weights=(1 - DELAYED, 1), k=count)
        for number in range(first, first + count):
            at = number - first
            # On time: an even millisecond of its own; delayed: an odd one. So no two events that decide about one
            # wait stand at the same instant, where the order would depend on which file each is in.
            ts = START + number * span // (2 * log.events) * 2
            if delays[at]:
                ts -= rng.randrange(1, DELAY, 2)
            event = events[at]
            item = (orders if event == "order" else views)[bought[at]]
            yield _line(number, users[at], event, ts, item)


def _waits(log: Log) -> Iterator[str]:
    rng = random.Random(log.seed)
    views, _ = _items(rng)
    for user in range(log.users):
        yield _line(user, user, "product_view", START + user * 30 * MINUTE // log.users, views[user % SKUS])
    user = 0
    for number in range(log.events):
        ts = START + 30 * MINUTE + number * 10 * MINUTE // log.events
        heard = rng.random() < log.heard
        user = (user + 1) % log.users if heard else user
        yield _line(log.users + number, user, "product_view" if heard else "search", ts, views[number % SKUS])


def main() -> None:
    """Make one log and print its files."""
    parser = argparse.ArgumentParser(description="Make a log of shop events for the benchmarks.")
    parser.add_argument("--kind", choices=("day", "pending", "touched"), default="day")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--heard", type=float, default=0.0)
    given = parser.parse_args()
    for path in make(Log(given.kind, given.events, given.users, given.parts, given.heard)):
        print(path)


if __name__ == "__main__":
    main()
