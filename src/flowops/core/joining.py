"""Two users who turn out to be one (S2a): what is remembered of the one joins what is remembered of the other.

As far as what is remembered allows, it is as though all had been told of one user. A join begins, ends and sends
nothing that is not named here: it is no event.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from flowops.core import counters
from flowops.core.matchers import Matcher
from flowops.core.plan import Counter
from flowops.core.receipts import withdraw
from flowops.core.records import Micros
from flowops.core.state import Instance, User


def join(
    user: User,
    other: User,
    other_id: str,
    now: Micros,
    all_matchers: Sequence[Matcher],
    all_counters: Sequence[Counter | None],
) -> None:
    """Let all that is remembered of `other` be the user's. What began under its id keeps that for its own id (S32)."""
    _join_profile(user, other)
    _join_tallies(user, other, now, all_counters)
    for instance in other.instances:
        instance.of = instance.of or other_id
    user.instances = _joined(user.instances, other.instances, all_matchers)
    user.windows += other.windows
    user.sends = tuple(sorted(user.sends + other.sends, key=itemgetter(0)))
    user.sent += other.sent
    entered = {entry[:2]: entry for entry in sorted(other.entries + user.entries, key=itemgetter(2))}
    user.entries = tuple(entered.values())
    for channel, at in other.withdrawn:
        withdraw(user, channel, at)


def _join_profile(user: User, other: User) -> None:
    """Of each attribute, and segment, what was told last; what was told at one time, as it was told of the user."""
    if other.profile is None or user.profile is None:
        user.profile = user.profile or other.profile
        user.profile_at = user.profile_at or other.profile_at
        return
    newer = [theirs > own for own, theirs in zip(user.profile_at, other.profile_at, strict=True)]
    for name in ("profile", "profile_at"):
        pairs = zip(newer, getattr(user, name), getattr(other, name), strict=True)
        setattr(user, name, tuple([theirs if take else own for take, own, theirs in pairs]))


def _join_tallies(user: User, other: User, now: Micros, all_counters: Sequence[Counter | None]) -> None:
    if not other.tallies:
        return
    tallies = user.tallies = user.tallies or {}
    for name, tally in other.tallies.items():
        if name in tallies:
            counters.join(counters.counter_of(all_counters, tally.counter), tallies[name], tally, now)
        else:
            tallies[name] = tally


def _joined(
    own: Sequence[Instance], joining: Sequence[Instance], all_matchers: Sequence[Matcher]
) -> tuple[Instance, ...]:
    """What is under way of both, plan by plan as its matcher says."""
    kept: list[Instance] = []
    for plan in sorted({each.plan for each in (*own, *joining)}):
        kept += all_matchers[plan].join(
            [each for each in own if each.plan == plan], [each for each in joining if each.plan == plan]
        )
    return tuple(kept)
