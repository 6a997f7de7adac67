"""The jobs of the benchmarks as loops written by hand: what one thread can do, file to file, with nothing around it.

msgspec decodes only the fields that the job needs, a dict holds the waits, a heap the deadlines, and a JSON line per
dispatch is written. (J1's one duration could do with a queue; the heap is what any second duration needs.) The answer
is exact and the engine's own: events are sorted by time and held back until 5 seconds of event time have passed (S6,
S7), timers come before the records of their instant, an order at the deadline itself is none in time (S10, S13), and
what is due beyond the last event stays pending.

What a loop does not do, and the engine does: it reads one file that is in good order but for those 5 seconds, keeps
nothing for a restart, takes every line for valid and none for late or a repeat, writes no loss, no evidence and no
outcome that could be queried, and its one rule is its code.
"""

from __future__ import annotations

import argparse
import gc
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from projects import CATEGORY, PLANS

HOUR = 3_600_000
DAY = 24 * HOUR
WEEK = 7 * DAY
BOUND = 5_000
BLOCK = 1 << 17  # what is decoded from it stays in the second-level cache

VIEW, ORDER, CART = "product_view", "order", "add_to_cart"
HEARD = (VIEW, ORDER)


class Event(msgspec.Struct, gc=False):
    event: str
    user_id: str
    ts: int
    sku: str


class CategoryEvent(msgspec.Struct, gc=False):
    event: str
    user_id: str
    ts: int
    sku: str
    category: str


class PricedEvent(msgspec.Struct, gc=False):
    event: str
    user_id: str
    ts: int
    sku: str
    category: str
    price: float = 0.0


class AmountEvent(msgspec.Struct, gc=False):
    event: str
    user_id: str
    ts: int
    sku: str
    price: float = 0.0
    amount: float = 0.0


E = TypeVar("E", Event, CategoryEvent, PricedEvent, AmountEvent)
Wait = tuple[int, str, str]
"""Deadline, user, sku. Its identity tells a live wait from one that was cancelled."""

PlanWait = tuple[int, str, str, int]
"""The same, with the plan's number."""

by_time = attrgetter("ts")


def blocks(path: Path, kind: type[E]) -> Iterator[list[E]]:
    """The file's events, whole lines of a block at a time."""
    decode = msgspec.json.Decoder(kind).decode_lines
    rest = b""
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            end = block.rfind(b"\n") + 1
            if not end:
                rest += block
                continue
            yield decode(rest + block[:end])
            rest = block[end:]
    if rest:
        yield decode(rest)


def in_order(path: Path, kind: type[E], wanted: Callable[[list[E]], list[E]]) -> Iterator[tuple[list[E], int]]:
    """Wanted events sorted by time, each list complete up to the time beside it; the last time is the last event's."""
    held: list[E] = []
    highest = 0
    for events in blocks(path, kind):
        highest = max(highest, *map(by_time, events))
        held += wanted(events)
        held.sort(key=by_time)
        cut = bisect_right(held, highest - BOUND, key=by_time)
        yield held[:cut], highest - BOUND
        del held[:cut]
    yield held, highest


def line(wait: Wait) -> str:
    """What goes out: to whom, when, and the message."""
    due, user, sku = wait
    return f'{{"user_id":"{user}","triggered_at":{due},"title":"Still thinking?","body":"{sku} is waiting."}}\n'


def heard(events: list[Event]) -> list[Event]:
    """Views and orders."""
    return [e for e in events if e.event in HEARD]


def j1(path: Path, out: BinaryIO) -> dict[str, int]:
    """View without an order in 1 h."""
    return _absence(in_order(path, Event, heard), out)


def j1s(path: Path, out: BinaryIO) -> dict[str, int]:
    """The same, for the views of one category."""

    def wanted(events: list[CategoryEvent]) -> list[CategoryEvent]:
        return [e for e in events if e.event == ORDER or (e.event == VIEW and e.category == CATEGORY)]

    return _absence(in_order(path, CategoryEvent, wanted), out)


def _absence(batches: Iterator[tuple[list[E], int]], out: BinaryIO) -> dict[str, int]:
    waits: dict[str, Wait] = {}
    heap: list[Wait] = []
    dispatches = 0
    for events, reached in batches:
        lines = []
        for e in events:
            ts = e.ts
            while heap and heap[0][0] <= ts:
                wait = heappop(heap)
                if waits.get(wait[1]) is wait:
                    del waits[wait[1]]
                    lines.append(line(wait))
            user = e.user_id
            if e.event == ORDER:
                waits.pop(user, None)
            elif user not in waits:
                wait = waits[user] = (ts + HOUR, user, e.sku)
                heappush(heap, wait)
        while heap and heap[0][0] <= reached:
            wait = heappop(heap)
            if waits.get(wait[1]) is wait:
                del waits[wait[1]]
                lines.append(line(wait))
        dispatches += len(lines)
        out.write("".join(lines).encode())
    return {"dispatches": dispatches, "pending": len(waits)}


def j2(path: Path, out: BinaryIO) -> dict[str, int]:
    """J1 with at most one message in 24 h and two in 7 d, and a goal: an order within 1 h of the message.

    A goal window is shorter than the first cap's, so a user has one open at a time.
    """
    waits: dict[str, Wait] = {}
    heap: list[Wait] = []
    sends: dict[str, list[int]] = {}
    goals: dict[str, int] = {}
    dispatches = capped = attained = 0

    def decide(wait: Wait) -> bool:
        due, user, _ = wait
        if waits.get(user) is not wait:
            return False
        del waits[user]
        nonlocal capped
        sent = sends.get(user)
        if sent is None:
            sends[user] = [due]
        else:
            if sent[0] <= due - WEEK:
                sent[:] = [at for at in sent if at > due - WEEK]
            if len(sent) >= 2 or (sent and due - sent[-1] < DAY):
                capped += 1
                return False
            sent.append(due)
        goals[user] = due + HOUR
        return True

    for events, reached in in_order(path, Event, heard):
        lines = []
        for e in events:
            ts = e.ts
            while heap and heap[0][0] <= ts:
                wait = heappop(heap)
                if decide(wait):
                    lines.append(line(wait))
            user = e.user_id
            if e.event == ORDER:
                waits.pop(user, None)
                if user in goals and ts < goals.pop(user):
                    attained += 1
            elif user not in waits:
                wait = waits[user] = (ts + HOUR, user, e.sku)
                heappush(heap, wait)
        while heap and heap[0][0] <= reached:
            wait = heappop(heap)
            if decide(wait):
                lines.append(line(wait))
        dispatches += len(lines)
        out.write("".join(lines).encode())
    return {"dispatches": dispatches, "pending": len(waits), "capped": capped, "attained": attained}


def j100(path: Path, out: BinaryIO) -> dict[str, int]:
    """A hundred plans, each for one category and from one price on; a user's order ends all his waits."""
    listening: dict[str, list[tuple[int, int]]] = {}
    for number, (category, least) in enumerate(PLANS):
        listening.setdefault(category, []).append((least, number))
    waits: dict[str, dict[int, PlanWait]] = {}
    heap: list[PlanWait] = []
    dispatches = 0

    def wanted(events: list[PricedEvent]) -> list[PricedEvent]:
        return [e for e in events if e.event == ORDER or (e.event == VIEW and e.category in listening)]

    def fire(until: int) -> list[str]:
        lines = []
        while heap and heap[0][0] <= until:
            wait = heappop(heap)
            due, user, sku, number = wait
            own = waits.get(user)
            if own and own.get(number) is wait:
                del own[number]
                if not own:
                    del waits[user]
                lines.append(line((due, user, sku)))
        return lines

    for events, reached in in_order(path, PricedEvent, wanted):
        lines: list[str] = []
        for e in events:
            ts, user = e.ts, e.user_id
            if heap and heap[0][0] <= ts:
                lines += fire(ts)
            if e.event == ORDER:
                waits.pop(user, None)
                continue
            for least, number in listening[e.category]:
                if e.price >= least:
                    own = waits.setdefault(user, {})
                    if number not in own:
                        wait = own[number] = (ts + HOUR, user, e.sku, number)
                        heappush(heap, wait)
        lines += fire(reached)
        dispatches += len(lines)
        out.write("".join(lines).encode())
    return {"dispatches": dispatches, "pending": sum(map(len, waits.values()))}


def j3(path: Path, out: BinaryIO) -> dict[str, int]:
    """A view for 50 or more, then something no dearer put into the cart, then an order of at least that, in 12 h."""

    def wanted(events: list[AmountEvent]) -> list[AmountEvent]:
        return [e for e in events if e.event in (ORDER, CART) or (e.event == VIEW and e.price >= 50)]

    under_way: dict[str, tuple[int, str, float]] = {}  # until when, the event that it waits for, how much at least
    dispatches = 0
    for events, _ in in_order(path, AmountEvent, wanted):
        lines: list[str] = []
        for e in events:
            own = under_way.get(e.user_id)
            if own is None or e.ts >= own[0]:
                if e.event == VIEW:
                    under_way[e.user_id] = (e.ts + 12 * HOUR, CART, e.price)
            elif e.event == own[1] == CART and e.price <= own[2]:
                under_way[e.user_id] = (own[0], ORDER, e.price)
            elif e.event == own[1] == ORDER and e.amount >= own[2]:
                del under_way[e.user_id]
                lines.append(line((e.ts, e.user_id, e.sku)))
        dispatches += len(lines)
        out.write("".join(lines).encode())
    return {"dispatches": dispatches, "pending": len(under_way)}


JOBS: dict[str, Callable[[Path, BinaryIO], dict[str, int]]] = {
    "J1": j1, "J1s": j1s, "J2": j2, "J3": j3, "J100": j100,
}  # fmt: skip


def main() -> None:
    """Run one job and print its counts as JSON."""
    parser = argparse.ArgumentParser(description="Run a job of the benchmarks as a hand-written loop.")
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    gc.disable()  # nothing here refers to itself: what is dropped is freed at once
    with given.out.open("wb", buffering=0) as out:
        print(json.dumps(JOBS[given.job](given.log, out)))


if __name__ == "__main__":
    main()
