"""Schedules: again and again, for all of the audience (S18). The shard's own timer finds them, at each occurrence."""

from __future__ import annotations

from flowops.core.matchers.base import Matcher
from flowops.core.records import Micros
from flowops.core.state import DELAY, OPEN, Instance, User


class ScheduleMatcher(Matcher):
    """Gives each user of the audience an instance that falls due at once, in its turn among the user's timers (S7)."""

    __slots__ = ()

    def occur(self, user: User, now: Micros) -> None:
        """The occurrence at `now` concerns the user."""
        instance = Instance(OPEN, self.plan.index, now, now, now, 0, None, (), self.plan.blank)
        user.instances = (*user.instances, instance)

    def fall_due(self, _user: User, instance: Instance) -> Instance:
        """Its turn has come."""
        instance.kind = DELAY
        return instance
