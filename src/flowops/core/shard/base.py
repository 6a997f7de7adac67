"""What all layers of a shard stand on: its project, its users and their timers, what is asked of a user, effects."""

from __future__ import annotations

from flowops.core.counters import answer, counter_of, layer_of, name_of
from flowops.core.effects import Effects
from flowops.core.links import Identities
from flowops.core.plan import Attributes, Lookback, Plan, Project
from flowops.core.records import Micros
from flowops.core.shard.hearing import Hearing
from flowops.core.state import User, Users
from flowops.core.time import Zone, zone_named
from flowops.core.timers import NEVER, Timers


class Base:
    """The lowest layer: each of the others knows only those below it."""

    def __init__(self, number: int, project: Project, hearing: Hearing) -> None:
        self.number = number
        self.project = project
        self._began: dict[int, Micros] = {}  # by source: its first record (S12a)
        self._origin: Micros | None = None  # the first of all, once each reader has told
        self._by_timer = False  # it is a timer whose turn it is, no record
        self._users = Users()
        self._identities = Identities()
        self._timers = Timers()
        self._effects = no_effects()
        self._outside = 0
        self._unknown: Attributes = (None,) * len(project.attributes)
        self._layerings = project.layerings
        self._hearing = hearing
        self._matchers = hearing.matchers

    def _zone(self, plan: Plan, profile: Attributes) -> Zone:
        """The user's zone if known, else the plan's (S10)."""
        number = self.project.zone_attribute
        name = None if number is None else profile[number]
        return (zone_named(name) if isinstance(name, str) else None) or plan.zone

    def _profile(self, user: User, now: Micros) -> Attributes:
        """What is known of the user, the layers of `now` among it (S12b)."""
        profile = user.profile or self._unknown
        return self._layered(user, profile, now) if self._layerings else profile

    def _layered(self, user: User, profile: Attributes, now: Micros) -> Attributes:
        known = list(profile)
        for layering in self._layerings:
            known[layering.attribute] = layer_of(layering, lambda look: self._answer(look, user, now))
        return tuple(known)

    def _is_inside(self, plan: Plan, user: User, profile: Attributes, now: Micros) -> bool:
        """Whether the user is in the plan's audience."""
        if plan.audience is None:
            return True
        if plan.lookbacks:
            profile = self._looked_back(plan, user, profile, now)
        return plan.audience((), (), profile, now, None)

    def _looked_back(self, plan: Plan, user: User, profile: Attributes, now: Micros) -> Attributes:
        """The profile, and behind it what the plan's audience asks of the past (S12a)."""
        return (*profile, *(self._answer(look, user, now) for look in plan.lookbacks))

    def _answer(self, look: Lookback, user: User, now: Micros) -> bool | None:
        """What is known of the user's past (S12a)."""
        sources = self.project.sources
        held = [
            self._began.get(source) if sources[source].since is None else sources[source].since
            for source in look.sources
        ]
        since = max((each for each in held if each is not None), default=None) if None not in held else None
        tally = user.tallies.get(name_of(look.counter, None)) if user.tallies else None
        counter = counter_of(self.project.counters, look.counter)
        return answer(look, counter, tally, now, since, by_timer=self._by_timer)

    def _arm(self, user_id: str, user: User, due: Micros) -> None:
        if due < user.armed:
            user.armed = due
            self._timers.add(due, user_id)

    def _rearm(self, user_id: str, user: User) -> None:
        """Arm the user for what is due next: an instance, or the end of a goal window."""
        due = NEVER
        for instance in user.instances:
            due = min(due, instance.due)
        for window in user.windows:
            due = min(due, window.closes)
        for sent in user.sent:
            due = min(due, sent.due)
        if due < NEVER:
            self._arm(user_id, user, due)

    def _take_effects(self) -> Effects:
        effects = self._effects
        if self._outside:
            effects = effects._replace(outside_audience=self._outside)
            self._outside = 0
        self._effects = no_effects()
        return effects


def no_effects() -> Effects:
    """Nothing has happened yet."""
    return Effects([], [], [], [], [], [], 0, [], [], [], [], [])
