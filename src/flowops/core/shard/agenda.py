"""What no event begins: schedules, for all of an audience, and the dates of profiles (S18, S19)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowops.core import matchers
from flowops.core.plan import DateTrigger, Plan, Project, ScheduleTrigger
from flowops.core.records import Micros
from flowops.core.shard.acting import Acting
from flowops.core.shard.hearing import Hearing
from flowops.core.state import CLOCK, User
from flowops.core.timers import NEVER


class Agenda(Acting):
    """Sets the clock for schedules and the users' timers for their dates."""

    def __init__(self, number: int, project: Project, hearing: Hearing) -> None:
        super().__init__(number, project, hearing)
        self._dates = _dates(project, self._matchers)
        self._schedules = [
            (plan.trigger.after, matcher)
            for plan, matcher in zip(project.plans, self._matchers, strict=True)
            if isinstance(plan.trigger, ScheduleTrigger) and isinstance(matcher, matchers.ScheduleMatcher)
        ]

    def _schedule(self, after: Micros) -> None:
        """Set the clock for the next occurrence of any schedule, strictly later than `after`."""
        if self._origin is None:
            return
        coming = [occurrences(max(after, self._origin - 1)) for occurrences, _ in self._schedules]
        self._users.clock = min((at for at in coming if at is not None), default=NEVER)
        if self._users.clock < NEVER:
            self._timers.add(self._users.clock, CLOCK)

    def _occur(self, now: Micros) -> None:
        """What is scheduled for `now` begins, plan by plan, for all of the audience of that instant (S18)."""
        users = self._users
        due = [matcher for occurrences, matcher in self._schedules if occurrences(now - 1) == now]
        due = [matcher for matcher in due if matcher.opens <= now < matcher.closes]
        concerned: list[tuple[str, list[matchers.ScheduleMatcher]]] = []
        for user_id, user in users.each() if due else ():
            asking = [each for each in due if self._is_inside(each.plan, user, self._profile(user, now), now)]
            if asking:
                concerned.append((user_id, asking))
        for user_id, asking in concerned:
            found = users.find(user_id)
            if found is None:
                raise AssertionError("a user who was just there is gone")
            for each in asking:
                each.occur(found, now)
            self._arm(user_id, found, now)
        self._schedule(now)

    def _expect(self, user_id: str, user: User, waiting: Iterable[matchers.DateMatcher], now: Micros) -> None:
        """Let the user wait for the next time that a date of the profile comes (S19)."""
        if self._origin is None:
            return
        profile = user.profile or self._unknown
        for matcher in waiting:
            matcher.expect(user, profile, self._zone(matcher.plan, profile), max(now, self._origin - 1))
        self._rearm(user_id, user)

    def _concerns(self, plan: Plan, user: User, now: Micros) -> bool:
        """Whether what no event began may begin: inside the plan's dates, for a user of the audience (S20, S22)."""
        if not plan.starts_at <= now < plan.ends_at:
            return False
        if not self._is_inside(plan, user, self._profile(user, now), now):
            self._outside += 1
            return False
        return True


def _dates(project: Project, all_matchers: Sequence[matchers.Matcher]) -> dict[int, list[matchers.DateMatcher]]:
    """By attribute: what waits for a date, and must look at it anew when the attribute changes, or the user's zone."""
    dates: dict[int, list[matchers.DateMatcher]] = {}
    for plan, matcher in zip(project.plans, all_matchers, strict=True):
        if isinstance(plan.trigger, DateTrigger) and isinstance(matcher, matchers.DateMatcher):
            for attribute in {plan.trigger.attribute, project.zone_attribute}:
                if attribute is not None:
                    dates.setdefault(attribute, []).append(matcher)
    return dates
