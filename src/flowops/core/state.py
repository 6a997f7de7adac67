"""What is remembered of a user, and how it is kept: encoded in memory, appended to a log, restored.

A user at rest is one `bytes`; it is decoded when touched and encoded again when the epoch ends or too many are open.
So a million waiting users cost what their bytes cost, and a snapshot is the bytes of those touched since the last.
State refers to plans, goals, channels and attributes by number; the numbers' meaning is kept beside the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

import msgspec

from flowops.core.records import Micros, Record
from flowops.core.timers import NEVER

FORMAT = 9
"""Number of the state format: raise it when this module, or anything else, writes state in another way."""

OPEN_USERS = 2048
"""How many users of a shard may stand decoded between two snapshots."""

CLOCK = ""
"""No user's id: in its place stands what comes by the calendar, before all users of its instant."""

WAIT = 0
DELAY = 1
OPEN = 2
HELD = 3
FALLBACK = 4
JOURNEY = 5
KINDS = ("wait", "delay", "open", "held", "fallback", "journey")
"""From `HELD` on the trigger is its matcher's no more: it has come to its decision."""


class Instance(msgspec.Struct, array_like=True, gc=False):
    """A trigger under way.

    By its `kind` it fires unless something comes (`wait`) or if something does (`open`), both its matcher's business;
    or it has fired and is delayed, or held in quiet hours. Of a journey (S30) it is the `journey` itself, on its way to
    its next step; a message of it that is held; or what follows if a message does not arrive (`fallback`).
    """

    kind: int
    plan: int
    since: Micros  # ts of the event that began it
    due: Micros
    triggered_at: Micros  # for a wait: known when it fires
    attempt: int  # decisions made so far
    key: str | None
    evidence: tuple[str, ...]
    steps: tuple[tuple[Any, ...], ...]  # as `plan.Steps`
    progress: tuple[Any, ...] = ()  # notes of its matcher, or of `journey`; a tuple in it may come back as a list
    of: str | None = (
        None  # the user's id when it began, of a journey when it set out, where that is another's now (S2a)
    )


class Window(msgspec.Struct, array_like=True, gc=False):
    """A goal window `[opened, closes)` of one delivery (S41); or one that `compares` the arms of an experiment (S23).

    Those open for both arms as the arm is drawn, whatever becomes of the message.
    """

    plan: int
    goal: int
    message: int  # which of the plan's
    opened: Micros
    closes: Micros
    day: int
    clock: str | None
    trigger_id: str
    compares: bool
    held_out: bool
    variant: str | None
    steps: tuple[tuple[Any, ...], ...]
    seen: list[str]  # event ids that counted


class Sent(msgspec.Struct, array_like=True, gc=False):
    """A message of which something may still be heard, on a channel from which results come back (S40)."""

    plan: int
    message: int  # which of the plan's
    trigger_id: str
    day: int
    clock: str | None
    variant: str | None
    steps: tuple[tuple[Any, ...], ...]
    decided_at: Micros
    due: Micros  # when it counts as undelivered; NEVER once that is decided
    until: Micros  # from here on nothing that is heard of it counts
    stage: str
    proven: bool  # a receipt says that it arrived
    opened: bool  # its goal windows have been opened, which happens once
    changes: int  # of its stage, so far
    cap_values: tuple[str | None, ...] = ()  # as in its `Send`


Send: TypeAlias = tuple[Micros, int, int, tuple[str | None, ...], str]
"""(at, plan, channel, values, step) of a message that counts for caps. The values are those of `plan.Plan.cap_values`.

The messages of one `step` count once, except towards a channel's cap (S24); it is empty where a step has but one.
"""


Entered: TypeAlias = tuple[int, str | None, Micros, str]
"""(plan, key, last entry, trigger id): when a user last entered (S21), and by which trigger."""

Entry: TypeAlias = tuple[Micros, str, str | None]
"""(ts, event id, what counts: None, the distinct value, or the amount in decimal digits)."""


class Tally(msgspec.Struct, array_like=True, gc=False):
    """What one user has of one counter, and of one key (`counters`)."""

    counter: int
    armed: bool = True  # it has been below what is wanted since it last fired
    total: str = "0"  # of a sum
    entries: list[Entry] = msgspec.field(default_factory=list)

    @property
    def evidence(self) -> tuple[str, ...]:
        """The events that count, first to last."""
        return tuple([event_id for _, event_id, _ in self.entries])


class User(msgspec.Struct, array_like=True, gc=False):
    """All that is remembered of one user; in tuples, because most are empty, and of these there is one for all."""

    armed: Micros = NEVER
    profile: tuple[Any, ...] | None = None  # by attribute number
    profile_at: tuple[Micros, ...] = ()  # when each attribute was last set or deleted
    instances: tuple[Instance, ...] = ()
    windows: tuple[Window, ...] = ()
    sends: tuple[Send, ...] = ()  # oldest first
    entries: tuple[Entered, ...] = ()
    sent: tuple[Sent, ...] = ()
    withdrawn: tuple[tuple[int, Micros], ...] = ()  # (channel, when consent for it was withdrawn last)
    tallies: dict[str, Tally] | None = None  # by `counters.name_of`

    def is_empty(self) -> bool:
        """Nothing is known or pending: the user need not be kept."""
        return not (
            self.instances
            or self.windows
            or self.sends
            or self.entries
            or self.profile_at
            or self.sent
            or self.withdrawn
            or self.tallies
        )


Links: TypeAlias = dict[str, tuple[str, Micros]]
"""By identity: the user to whom it leads, and the time of the link that says so (S2a)."""


Progress: TypeAlias = dict[int, tuple[Micros, Micros]]
"""By reader: (watermark, highest)."""


class Frame(msgspec.Struct, array_like=True):
    """One entry of a shard's log: what changed since the entry before. `users` maps to None who is gone."""

    format: int
    shard: int
    progress: Progress
    held: list[Record]
    users: dict[str, bytes | None]
    began: dict[int, Micros]  # by source: its first record
    origin: Micros | None  # the first of all; None until time has begun
    fired: Micros  # timers have fired up to here
    links: Links


_encode_frame = msgspec.msgpack.Encoder().encode
_decode_frame = msgspec.msgpack.Decoder(Frame).decode
_encode_user = msgspec.msgpack.Encoder().encode
_decode_user = msgspec.msgpack.Decoder(User).decode


def encode_frame(frame: Frame) -> bytes:
    """The frame as bytes for the log."""
    return _encode_frame(frame)


def decode_frame(data: bytes) -> Frame:
    """The frame from the log. Raises ValueError when the bytes are none, or of another format."""
    try:
        frame = _decode_frame(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a state frame of format {FORMAT}: {error}") from error
    if frame.format != FORMAT:
        raise ValueError(f"state of format {frame.format}; this version reads format {FORMAT}")
    return frame


class Users:
    """The users of one shard: bytes at rest, `User` objects while they are worked on."""

    __slots__ = ("_new", "_rest", "_touched", "clock", "open")

    def __init__(self) -> None:
        self.clock: Micros = NEVER  # when the next schedule occurs
        self._rest: dict[str, bytes] = {}
        self._new = 0  # open, and not known when last at rest
        self._touched: set[str] = set()  # changed since the last snapshot and at rest again
        self.open: dict[str, User] = {}

    def __len__(self) -> int:
        return len(self._rest) + self._new

    def find(self, user_id: str) -> User | None:
        """The user, opened, or None if nothing is known of it. Whoever changes it need do nothing more."""
        user = self.open.get(user_id)
        if user is None:
            data = self._rest.get(user_id)
            if data is None:
                return None
            user = self.open[user_id] = _decode_user(data)
        return user

    def create(self, user_id: str) -> User:
        """A new user, of whom nothing was known."""
        user = self.open[user_id] = User()
        self._new += 1
        return user

    def due(self, user_ids: Iterable[str], begin: Micros, end: Micros) -> list[tuple[Micros, str]]:
        """(when, who): those of them whose timer is set for `[begin, end)`."""
        known = self.open.get
        found: list[tuple[Micros, str]] = []
        for user_id in user_ids:
            user = known(user_id) or self.find(user_id)
            at = user.armed if user is not None else self.clock if user_id == CLOCK else NEVER
            if begin <= at < end:
                found.append((at, user_id))
        return found

    def rest(self) -> None:
        """Encode all open users."""
        rest = self._rest
        for user_id, user in self.open.items():
            if user.is_empty():
                rest.pop(user_id, None)
            else:
                rest[user_id] = _encode_user(user)
        self._touched.update(self.open)
        self.open.clear()
        self._new = 0

    def changes(self) -> dict[str, bytes | None]:
        """What changed since this was last called; None for users who are gone. Leaves all users at rest."""
        self.rest()
        changed = {user_id: self._rest.get(user_id) for user_id in self._touched}
        self._touched.clear()
        return changed

    def everything(self) -> dict[str, bytes | None]:
        """All users, at rest."""
        self.rest()
        return dict(self._rest)

    def apply(self, changes: dict[str, bytes | None]) -> None:
        """Restore: apply the changes of one frame."""
        for user_id, data in changes.items():
            if data is None:
                self._rest.pop(user_id, None)
            else:
                self._rest[user_id] = data

    def remove(self, user_id: str) -> None:
        """Forget a user who is open."""
        del self.open[user_id]
        self._touched.add(user_id)
        if self._rest.pop(user_id, None) is None:
            self._new -= 1

    def drop(self, user_ids: Iterable[str]) -> None:
        """Forget these users, who are at rest."""
        for user_id in user_ids:
            del self._rest[user_id]
            self._touched.add(user_id)

    def each(self, step: int = 1) -> Iterator[tuple[str, User]]:
        """All users, or every `step`-th one, decoded one at a time; for reading only."""
        self.rest()
        for user_id, data in islice(self._rest.items(), 0, None, step):
            yield user_id, _decode_user(data)


def merge(frames: Iterable[bytes]) -> tuple[Users, Links, Frame | None]:
    """The users and links after all frames of a log, in order, and the last frame (None for an empty log)."""
    users = Users()
    links: Links = {}
    last: Frame | None = None
    for data in frames:
        last = decode_frame(data)
        users.apply(last.users)
        links |= last.links
    return users, links, last
