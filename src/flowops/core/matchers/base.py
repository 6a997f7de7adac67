"""What every trigger family answers for the shard: how its instances begin, go on and fall due."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.core.plan import Plan, Start
from flowops.core.records import Micros, Values
from flowops.core.state import Instance, User


class Matcher:
    """The trigger of one plan at work. It changes the user's instances and nothing else, and keeps no state itself.

    An instance that it gives back with the kind `DELAY` has fired: it is no longer among the user's instances,
    `triggered_at` is set, and the shard sees to the rest (the delay, the decision).

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

    def fall_due(self, user: User, instance: Instance) -> Instance | None:
        """An instance under way, no longer among the user's, has come to its `due`; the instance if it fires."""
        raise NotImplementedError(f"{type(self).__name__} waits for no time")
