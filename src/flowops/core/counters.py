"""Counts, distinct counts and sums in sliding windows (S16): what is kept of them, and when they hold.

A tally keeps no more than it takes to know: of a count the latest N events, of a distinct count the last event of each
of the latest N values, of a sum at most `LONGEST` amounts. Its entries stand in the order of time, a late one before
those of its instant. One whose window has passed by holds nothing that matters, whenever it is forgotten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from typing import Any

from flowops.core.plan import Counter, Layering, Lookback
from flowops.core.records import Micros
from flowops.core.state import Entry, Tally, User

LONGEST = 1000
"""Amounts that a sum keeps apart. Of more, the oldest joins the next one, and leaves the window with that."""

_EXACT = Context(prec=60)
_NINE_PLACES = Decimal("1e-9")
_LARGEST = 1e14
"""Beyond it an amount is none, as in `attribution`."""


def name_of(counter: int, key: str | None) -> str:
    """Under which a user's tally is kept."""
    return str(counter) if key is None else f"{counter} {key}"


def counter_of(counters: Sequence[Counter | None], number: int) -> Counter:
    """The counter of a tally."""
    counter = counters[number]
    if counter is None:
        raise AssertionError(f"the plan number {number} does not count")
    return counter


def holds(counter: Counter, tally: Tally) -> bool:
    """Whether what is kept reaches what is wanted."""
    if counter.kind == "sum":
        return Decimal(tally.total) >= counter.least
    return len(tally.entries) >= counter.least


def take(counter: Counter, tally: Tally, at: Micros, ts: Micros, event_id: str, value: Any) -> bool:
    """Count an event of `ts`, whose place in the order is `at`; False when it is none that counts, or known (S4)."""
    pass_by(counter, tally, at)
    counted = counted_value(counter, value)
    entries = tally.entries
    if (counter.kind != "times" and counted is None) or (counter.within is not None and ts <= at - counter.within):
        return False
    if counter.begin is not None and counter.end is not None and not counter.begin <= ts < counter.end:
        return False
    if any(known == event_id for _, known, _ in entries):
        return False
    if counter.kind == "distinct":
        for place, (other, _, same) in enumerate(entries):
            if same == counted:
                if other > ts or (other == ts and ts < at):
                    return False
                del entries[place]
                break
    entry = (ts, event_id, counted)
    if ts < at:
        entries.insert(bisect_left(entries, ts, key=_ts), entry)
    else:
        entries.append(entry)
    if counter.kind == "sum":
        tally.total = str(_EXACT.add(Decimal(tally.total), Decimal(counted or 0)))
        if len(entries) > LONGEST:
            _join_oldest(entries)
        tally.armed = tally.armed or not holds(counter, tally)
    elif len(entries) > counter.keeps:
        del entries[0]
    return True


def join(counter: Counter, tally: Tally, other: Tally, now: Micros) -> None:
    """Join what was counted of another user, who is this one (S2a); an event that both have counts once."""
    pass_by(counter, tally, now)
    pass_by(counter, other, now)
    known = {event_id for _, event_id, _ in tally.entries}
    entries = sorted(tally.entries + [entry for entry in other.entries if entry[1] not in known], key=_ts)
    if counter.kind == "distinct":
        last = {value: place for place, (_, _, value) in enumerate(entries)}
        entries = [entry for place, entry in enumerate(entries) if last[entry[2]] == place]
    if counter.kind == "sum":
        while len(entries) > LONGEST:
            _join_oldest(entries)
        tally.total = str(_sum(entries))
    else:
        del entries[: -counter.keeps]
    tally.entries = entries
    tally.armed = (tally.armed and other.armed) or not holds(counter, tally)


def pass_by(counter: Counter, tally: Tally, now: Micros) -> None:
    """Let go what the window `(now - W, now]` has left, an instant at a time, and note whether it fell below (S16)."""
    if counter.within is None:
        return
    entries, begin = tally.entries, now - counter.within
    while entries and entries[0][0] <= begin:
        instant = entries[0][0]
        gone = bisect_left(entries, instant + 1, key=_ts)
        if counter.kind == "sum":
            total = Decimal(tally.total)
            for _, _, amount in entries[:gone]:
                total = _EXACT.subtract(total, Decimal(amount or 0))
            tally.total = str(total)
        del entries[:gone]
        tally.armed = tally.armed or not holds(counter, tally)


def answer(
    look: Lookback, counter: Counter, tally: Tally | None, now: Micros, since: Micros | None, *, by_timer: bool
) -> bool | None:
    """Whether it is so much; None where that cannot be known: the window reaches back before the history held (S12a).

    `since` is from when on it holds, None: it never did. A window ends with the event that asks, `(now - W, now]`, or
    before the timer that does, `[now - W, now)` (S10).
    """
    begin = since if counter.begin is None else counter.begin
    if look.within is not None:
        begin = now - look.within + (not by_timer)
    known = since is not None and begin is not None and since <= begin
    entries = [] if tally is None else [one for one in tally.entries if begin is None or one[0] >= begin]
    have: int | Decimal = len(entries)
    if counter.kind == "sum":
        have = _sum(entries)
    if look.high is not None and have > look.high:
        return False
    if known or (look.high is None and have >= look.low):
        return have >= look.low
    return None


def layer_of(layering: Layering, ask: Callable[[Lookback], bool | None]) -> str | None:
    """The first layer of which all is so; None where there is none, or that hangs on what is not known (S12b)."""
    for name, asked in layering.layers:
        answers = [ask(look) for look in asked]
        if all(answers):
            return name
        if False not in answers:
            return None
    return None


def is_over(counter: Counter, tally: Tally, now: Micros) -> bool:
    """Whether nothing that it keeps can count any more."""
    return not tally.entries or (counter.within is not None and tally.entries[-1][0] <= now - counter.within)


def prune(counters: Sequence[Counter | None], user: User, now: Micros) -> None:
    """Forget the tallies that hold nothing that can still count."""
    if user.tallies:
        tidy(counters, user.tallies, now)
    if not user.tallies:
        user.tallies = None


def tidy(counters: Sequence[Counter | None], tallies: dict[str, Tally], now: Micros) -> None:
    """As `prune`, of these."""
    for name in [name for name, tally in tallies.items() if is_over(counter_of(counters, tally.counter), tally, now)]:
        del tallies[name]


def counted_value(counter: Counter, value: Any) -> str | None:
    """What of a property counts: a distinct value as text, an amount in decimal digits, to nine places."""
    if value is None or counter.kind == "times":
        return None
    if counter.kind == "sum":
        if not -_LARGEST <= value <= _LARGEST:
            return None
        amount = Decimal(repr(value))
        exponent = amount.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -9:
            amount = amount.quantize(_NINE_PLACES, context=_EXACT)
        return str(amount)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _sum(entries: Sequence[Entry]) -> Decimal:
    total = Decimal(0)
    for _, _, amount in entries:
        total = _EXACT.add(total, Decimal(amount or 0))
    return total


def _join_oldest(entries: list[Entry]) -> None:
    """The oldest amount joins the next one."""
    (_, _, oldest), (then, id_, next_) = entries[0], entries[1]
    entries[:2] = [(then, id_, str(_EXACT.add(Decimal(oldest or 0), Decimal(next_ or 0))))]


def _ts(entry: Entry) -> Micros:
    return entry[0]
