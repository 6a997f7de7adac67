"""What every trigger family answers for the shard: how its instances begin, go on and fall due."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.core.plan import Attributes, Capture, Plan, Start, Steps, Take
from flowops.core.records import Micros, Record, Values
from flowops.core.state import DELAY, OPEN, WAIT, Instance, User

UNDER_WAY = 1000
"""So many of one plan, user and key are under way at most: each event of theirs looks at all of them."""

EVIDENCE = 1000
"""So many events of one step or member are kept at most: what a user can do without end must not grow without end."""


class Matcher:
    """The trigger of one plan at work. It changes the user's instances and nothing else, and keeps no state itself.

    An instance that it gives back with the kind `DELAY` has fired: it is no longer among the user's instances,
    `triggered_at` is set, and the shard sees to the rest (the delay, the decision).

    A kind has those of the three answers that its listeners and instances ask for; the others are never asked.

    An event begins something from `opens` to before `closes`: the plan's dates (S20), where no matcher knows better.
    """

    __slots__ = ("closes", "opens", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.opens = plan.starts_at
        self.closes = plan.ends_at

    def begin(
        self, starts: Sequence[Start], user: User, ts: Micros, event_id: str, values: Values, key: str | None
    ) -> Instance | None:
        """The instance that this event begins, fired or among the user's; None when it begins none.

        `starts` are the listeners that the event satisfies, at least one; dates, key and audience have been asked.
        Called only for events that are on time (S9).
        """
        raise NotImplementedError(f"{type(self).__name__} begins with no event")

    def advance(
        self, takes: Sequence[Take], user: User, profile: Attributes, record: Record
    ) -> tuple[Sequence[Instance], bool]:
        """(those that it fires, whether it was used so that it begins nothing): the event meets what is under way.

        Called for late events too, which count as of their own time (S9).
        """
        raise NotImplementedError(f"{type(self).__name__} goes on with no event")

    def fall_due(self, user: User, instance: Instance) -> Instance | None:
        """An instance under way, no longer among the user's, has come to its `due`; the instance if it fires."""
        raise NotImplementedError(f"{type(self).__name__} waits for no time")

    def join(self, own: Sequence[Instance], joining: Sequence[Instance]) -> Sequence[Instance]:
        """What stays of both where two users turn out to be one (S2a): of the one, and of the one who joins it.

        Here all does, but what both wait out the delay of is one.
        """
        delayed = {_what(each) for each in own if each.kind == DELAY}
        return [*own, *(each for each in joining if each.kind != DELAY or _what(each) not in delayed)]


def one_of_each(instances: Sequence[Instance], *, latest: bool) -> list[Instance]:
    """Of what is under way one for each key: that which began first, or `latest`; of two at one instant the first."""
    kept: dict[str | None, Instance] = {}
    for each in instances:
        if each.kind in (WAIT, OPEN):
            known = kept.setdefault(each.key, each)
            if each.since > known.since if latest else each.since < known.since:
                kept[each.key] = each
    return [each for each in instances if each.kind not in (WAIT, OPEN) or kept[each.key] is each]


def _what(instance: Instance) -> tuple[str | None, tuple[str, ...], Micros]:
    return instance.key, instance.evidence, instance.triggered_at


def keep(steps: Steps, capture: Capture, values: Values) -> Steps:
    """The steps with what is kept of an event."""
    kept = list(steps)
    for step, places in capture:
        kept[step] = tuple([values[place] for place in places])
    return tuple(kept)
