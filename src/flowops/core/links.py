"""Which ids lead to which users (S2a): what links say, in the order of S7."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from flowops.core.records import NO_WATERMARK, Micros
from flowops.core.state import Links

Said: TypeAlias = Literal["leads", "nothing", "circle"]
"""What a link says: from now on the identity leads there; nothing new; or that a user leads to itself."""


class Identities:
    """The links of one shard. An id that leads nowhere is a user of its own."""

    __slots__ = ("_new", "_to")

    def __init__(self, links: Links | None = None) -> None:
        self._to: Links = links or {}
        self._new: Links = {}

    def user_of(self, user_id: str) -> str:
        """The user whom an id leads to in the end: itself, mostly."""
        to = self._to
        while (next_ := to.get(user_id)) is not None:
            user_id = next_[0]
        return user_id

    def take(self, identity: str, user_id: str, ts: Micros) -> Said:
        """Of several links of one identity the newest counts, by their own time; of one time the last in order."""
        before, since = self._to.get(identity, (None, NO_WATERMARK))
        if ts < since or (before == user_id and ts == since):
            return "nothing"
        if before != user_id and self._passes(user_id, identity):
            return "circle"
        self._to[identity] = self._new[identity] = (user_id, ts)
        return "nothing" if before == user_id else "leads"

    def changes(self) -> Links:
        """The links that are new since this was last called."""
        new, self._new = self._new, {}
        return new

    def everything(self) -> Links:
        """All links."""
        return dict(self._to)

    def _passes(self, user_id: str, identity: str) -> bool:
        """Whether the way from an id leads past another."""
        while user_id != identity:
            further = self._to.get(user_id)
            if further is None:
                return False
            user_id = further[0]
        return True


def connected(links: Iterable[tuple[str, str]], user_id: str) -> frozenset[str]:
    """All ids that links, in either direction, connect with one: whatever is told of another cannot concern it."""
    pairs = list(links)
    found, before = {user_id}, 0
    while len(found) > before:
        before = len(found)
        found.update(each for pair in pairs if not found.isdisjoint(pair) for each in pair)
    return frozenset(found)


def told_by(links: Iterable[tuple[Micros, str, str]]) -> Identities:
    """What links say, (time, identity, user) in any order, once all have been told."""
    identities = Identities()
    for ts, identity, user_id in sorted(links, key=lambda link: link[0]):
        identities.take(identity, user_id, ts)
    return identities


def same_person(links: Iterable[tuple[Micros, str, str]], user_id: str) -> frozenset[str]:
    """All ids that in the end lead to the same user as one does. `links`: (time, identity, user), in any order."""
    told = list(links)
    identities = told_by(told)
    user = identities.user_of(user_id)
    names = {user_id, *(name for _, *pair in told for name in pair)}
    return frozenset(name for name in names if identities.user_of(name) == user)
