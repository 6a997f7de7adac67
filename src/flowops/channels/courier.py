"""A courier: the thread that sends the commands of one network channel for one writer.

It decides when a command is tried: not after it has expired, not within quiet hours (S31a), not if the ledger knows
its answer (S32), and again, later and later, while the server cannot take it. The sender only tries once. Read `_run`
first.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, TypeAlias

from flowops.channels.base import ACCEPTED, Answer, Command, Sender, Unavailable
from flowops.channels.ledger import Ledger
from flowops.core.records import Micros
from flowops.core.time import SECOND, isoformat

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0
"""Seconds: a wait is drawn evenly from 0 to a bound that doubles with each try, so that many do not come at once."""

_LOOK = 1.0  # seconds between two looks at the clock, at most
_CLOSE = 15.0

_log = logging.getLogger("flowops.deliver")

HeldUntil: TypeAlias = Callable[[Command, Micros], "Micros | None"]
"""(command, now) -> when the quiet ends that holds now for it; None if it is not quiet."""


def wall_clock() -> Micros:
    """Now."""
    return time.time_ns() // 1000


class Courier:
    """Sends what is handed to it. `hand`, `collect`, `leave` and `close` are called in the dataflow, and never wait.

    Args:
        name: of the channel, for people.
        sender: tries commands; used in the courier's thread alone.
        ledger: what was answered; used in the courier's thread alone.
        held_until: whether a command is within its quiet hours.
        position: of the sender, as the last committed epoch had it.
        changed: told how many commands wait to be answered, those held in quiet hours apart, whenever that changes.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        ledger: Ledger,
        held_until: HeldUntil,
        position: Any = None,
        changed: Callable[[int], None] | None = None,
        clock: Callable[[], Micros] = wall_clock,
    ) -> None:
        self._name = name
        self._sender = sender
        self._ledger = ledger
        self._held_until = held_until
        self._position = position
        self._changed = changed
        self._clock = clock
        self._news = threading.Condition()  # guards what both sides touch: the next seven
        self._inbox: list[Command] = []
        self._answers: list[tuple[Command, Answer]] = []  # by the sender
        self._outbox: list[tuple[Command, Answer]] = []  # final, for the dataflow
        self._waiting = 0
        self._closing = False
        self._gone_by = 0.0
        self._error: Exception | None = None
        # of the courier's thread alone
        self._ready: list[tuple[int, Command]] = []  # a heap: place in the order in which they came
        self._held: list[tuple[Micros, int, Command]] = []  # a heap: when its quiet ends, place
        self._later: list[tuple[float, int, Command]] = []  # a heap: when to try again (monotonic clock), place
        self._places: dict[str, int] = {}  # of the commands that the sender has
        self._tries: dict[str, int] = {}
        self._unrecorded: list[tuple[Command, Answer]] = []
        self._came = 0
        self._connected = False
        self._failures = 0
        self._send_at = 0.0  # the monotonic clock before which nothing is sent,
        self._record_at = 0.0  # and nothing written into the ledger
        self._expire_at = 0.0
        self._silent_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"courier of {name}", daemon=True)
        self._thread.start()

    # --- called in the dataflow

    def hand(self, commands: Sequence[Command]) -> None:
        """Take commands, in order."""
        with self._news:
            self._inbox.extend(commands)
            self._count(len(commands))
            self._news.notify()

    def collect(self) -> tuple[Any, list[tuple[Command, Answer]]]:
        """The sender's position, and what was finally answered since the last time.

        A command is answered before the position passes it: so of what this gives, and what is still in flight, nothing
        lies before the position. Raises what made the courier stop.
        """
        with self._news:
            if self._error is not None:
                raise self._error
            answered, self._outbox = self._outbox, []
            return self._position, answered

    def leave(self) -> None:
        """Begin to stop; what is in flight stays so. Told to all couriers of a process before one is waited for."""
        with self._news:
            if not self._closing:
                self._closing = True
                self._gone_by = time.monotonic() + _CLOSE
            self._news.notify()

    def close(self) -> None:
        """Stop. Waits briefly, from `leave` on, for what is under way."""
        self.leave()
        self._thread.join(max(0.0, self._gone_by - time.monotonic()))

    # --- the courier's thread

    def _run(self) -> None:
        try:
            while True:
                with self._news:
                    self._news.wait_for(self._has_work, self._patience())
                    if self._closing:
                        break
                    arrived, self._inbox = self._inbox, []
                for command in arrived:
                    heappush(self._ready, (self._came, command))
                    self._came += 1
                self._wake()
                self._expire()
                self._settle()
                self._send()
                self._settle()
            self._leave()
        except Exception as error:  # noqa: BLE001 - raised in the dataflow, by `collect`
            with self._news:
                self._error = error

    def _has_work(self) -> bool:
        if self._closing or self._inbox:
            return True
        now = time.monotonic()
        if (self._answers or self._unrecorded) and now >= self._record_at:
            return True
        return bool(self._ready) and now >= self._send_at and self._sender.room > 0

    def _patience(self) -> float:
        """Seconds until something falls due."""
        now = time.monotonic()
        patience = _LOOK
        if self._held:
            patience = min(patience, (self._held[0][0] - self._clock()) / SECOND)
        if self._later:
            patience = min(patience, self._later[0][0] - now)
        if self._ready and self._send_at > now:
            patience = min(patience, self._send_at - now)
        if self._record_at > now:
            patience = min(patience, self._record_at - now)
        return max(0.001, patience)

    def _wake(self) -> None:
        """Make ready what was held, or was to be tried again, until now; what came first is again first."""
        while self._later and self._later[0][0] <= time.monotonic():
            heappush(self._ready, heappop(self._later)[1:])
        now = self._clock()
        released = 0
        while self._held and self._held[0][0] <= now:
            heappush(self._ready, heappop(self._held)[1:])
            released += 1
        if released:
            with self._news:
                self._count(released)

    def _expire(self) -> None:
        """Now and then, also while nothing can be sent: what waits may have expired."""
        if time.monotonic() < self._expire_at:
            return
        self._expire_at = time.monotonic() + _LOOK
        now = self._clock()
        expired = [command for _, command in self._ready if command.expires_at <= now]
        if expired:
            self._ready = [each for each in self._ready if each[1].expires_at > now]
            heapify(self._ready)
            for command in expired:
                self._answer(command, _expired(command))

    def _send(self) -> None:
        """Send what can be sent, unless the server or the ledger is to be left alone."""
        now = time.monotonic()
        if not self._ready or self._unrecorded or now < max(self._send_at, self._record_at) or self._sender.room <= 0:
            return
        batch: list[tuple[int, Command]] = []
        try:
            self._connect()
            batch = self._sendable()
            self._places.update((command.dispatch_id, place) for place, command in batch)
            if batch:
                self._sender.send([command for _, command in batch], self._answer)
        except Unavailable as error:
            self._connected = False
            with self._news:
                answered = {command.dispatch_id for command, _ in self._answers}
            for place, command in batch:
                if command.dispatch_id not in answered:
                    del self._places[command.dispatch_id]
                    heappush(self._ready, (place, command))
            self._send_at = time.monotonic() + _drawn(self._failures)
            self._failures += 1
            self._say_silent(str(error))

    def _connect(self) -> None:
        if self._connected:
            return
        found = self._sender.connect(self._position)
        self._ledger.record([(dispatch_id, ACCEPTED) for dispatch_id in found])
        self._connected = True
        self._move()

    def _sendable(self) -> list[tuple[int, Command]]:
        """The next that may go out now, as many as the sender takes; the others are answered, or held."""
        now = self._clock()
        room = self._sender.room
        taken: list[tuple[int, Command]] = []
        expired: list[Command] = []
        held = 0
        while self._ready and len(taken) < room:
            place, command = heappop(self._ready)
            if command.expires_at <= now:
                expired.append(command)
                continue
            until = self._held_until(command, now)
            if until is None:
                taken.append((place, command))
            else:
                heappush(self._held, (min(until, command.expires_at), place, command))
                held += 1
        for command in expired:
            self._answer(command, _expired(command))
        if held:
            with self._news:
                self._count(-held)
        try:
            known = self._ledger.known([command.dispatch_id for _, command in taken]) if taken else {}
        except Unavailable:
            for each in taken:
                heappush(self._ready, each)
            raise
        for _, command in taken:
            if command.dispatch_id in known:
                self._answer(command, known[command.dispatch_id])
        return [each for each in taken if each[1].dispatch_id not in known]

    def _answer(self, command: Command, answer: Answer) -> None:
        """What the sender says of a command, in any thread."""
        with self._news:
            self._answers.append((command, answer))
            self._news.notify()

    def _settle(self) -> None:
        """Write final answers into the ledger, give them to the dataflow, then let the position pass them."""
        with self._news:
            answers, self._answers = self._answers, []
        for command, answer in answers:
            place = self._places.pop(command.dispatch_id, 0)
            if answer.receipt is None:
                self._try_later(place, command, answer)
                continue
            self._unrecorded.append((command, answer))
            self._tries.pop(command.dispatch_id, None)
            if answer.receipt == "accepted":
                self._speak_again()
        if self._unrecorded and time.monotonic() >= self._record_at:
            lasting = [(c.dispatch_id, answer) for c, answer in self._unrecorded if answer.receipt != "expired"]
            try:
                if lasting:
                    self._ledger.record(lasting)
            except Unavailable as error:
                self._record_at = time.monotonic() + _drawn(self._failures)
                self._failures += 1
                self._say_silent(str(error))
                return
            with self._news:
                self._outbox.extend(self._unrecorded)
                self._count(-len(self._unrecorded))
            self._unrecorded = []
        if self._connected and not self._unrecorded:
            self._move()

    def _move(self) -> None:
        position = self._sender.position()
        with self._news:
            self._position = position

    def _try_later(self, place: int, command: Command, answer: Answer) -> None:
        """Put it off; a server that says how long it wants to be left alone is left alone by all."""
        tries = self._tries.get(command.dispatch_id, 0)
        self._tries[command.dispatch_id] = tries + 1
        wait = _drawn(tries)
        if answer.after is not None:
            wait = answer.after + (wait if answer.after else 0.0)
            self._send_at = max(self._send_at, time.monotonic() + answer.after)
        wait = min(wait, (command.expires_at - self._clock()) / SECOND)
        heappush(self._later, (time.monotonic() + wait, place, command))
        if answer.detail is not None:
            self._say_silent(answer.detail)

    def _say_silent(self, why: str) -> None:
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            self._say("messages wait", reason=why)

    def _speak_again(self) -> None:
        self._failures = 0
        if self._silent_since is not None:
            silent = time.monotonic() - self._silent_since
            self._silent_since = None
            self._say("messages go on", after=f"{silent:.0f}s")

    def _say(self, event: str, **fields: object) -> None:
        """In the log of the run: what happened, and the fields that it is told with."""
        _log.warning(event, extra={"fields": {"channel": self._name, **fields}})

    def _count(self, change: int) -> None:
        """Change how many commands wait; the caller holds the lock."""
        self._waiting += change
        if self._changed is not None:
            self._changed(self._waiting)

    def _leave(self) -> None:
        """Let what is under way end, and remember its answers: nobody collects them now, so they stay in flight."""
        self._sender.close()
        with self._news:
            answers = [*self._unrecorded, *self._answers]
        lasting = [(c.dispatch_id, answer) for c, answer in answers if answer.receipt in ("accepted", "failed")]
        try:
            if lasting:
                self._ledger.record(lasting)
        except Unavailable as error:
            self._say("answers are not remembered", reason=error, count=len(lasting))
        self._ledger.close()


def _expired(command: Command) -> Answer:
    return Answer("expired", f"at {isoformat(command.expires_at)}")


def _drawn(tries: int) -> float:
    """Seconds to wait before the next try: full jitter under an exponential bound."""
    return random.uniform(0.0, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(tries, 20)))  # noqa: S311 - no secret
