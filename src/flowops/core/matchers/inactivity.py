"""The inactivity trigger: nothing, or none of a kind, for a while since the last one (S17)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from flowops.core.matchers.base import Matcher, one_of_each
from flowops.core.matchers.keys import key_of
from flowops.core.plan import Attributes, InactivityTrigger, Plan, See, Start
from flowops.core.records import Micros, Record, Values
from flowops.core.state import DELAY, HELD, WAIT, Instance, User


def see(sees: Sequence[See], plans: Sequence[Plan], user: User, profile: Attributes, record: Record) -> None:
    """The user is seen: what waits for that not to happen ends. An event on time may then begin to wait anew.

    A late event moves what waits to its own time, since it begins nothing itself; and it ends what has fired, is still
    in its delay, and would not have fired with it (S9).
    """
    at, _, _, ts, event_id, values, _ = record
    for each in sees:
        key = key_of(each.key, values) if each.key else None
        if each.key and key is None:
            continue
        if each.where is not None and not each.where(values, (), profile, ts, None):
            continue
        plan = plans[each.plan]
        within = cast("InactivityTrigger", plan.trigger).within
        kept: list[Instance] = []
        for instance in user.instances:
            if instance.plan != each.plan or instance.key != key or instance.kind >= HELD:
                kept.append(instance)
            elif ts == at:
                if instance.kind == DELAY:
                    kept.append(instance)
            elif not instance.since < ts < instance.since + within:
                kept.append(instance)
            elif ts + within > at and plan.starts_at <= ts + within < plan.ends_at:
                ((_, places),) = each.capture
                captured = tuple([values[place] for place in places])
                kept.append(Instance(WAIT, each.plan, ts, ts + within, 0, 0, key, (event_id,), (captured,)))
        user.instances = tuple(kept)


class InactivityMatcher(Matcher):
    """Waits from each event on, the one before being ended by `see`."""

    __slots__ = ("_within",)

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._within = cast("InactivityTrigger", plan.trigger).within
        self.opens -= self._within  # what counts is whether it falls due inside the plan's dates
        self.closes -= self._within

    def begin(
        self, starts: Sequence[Start], user: User, ts: Micros, event_id: str, values: Values, key: str | None
    ) -> Instance | None:
        """The wait that this event begins."""
        ((_, places),) = starts[0].capture
        captured = tuple([values[place] for place in places])
        instance = Instance(WAIT, self.plan.index, ts, ts + self._within, 0, 0, key, (event_id,), (captured,))
        user.instances = (*user.instances, instance)
        return instance

    def join(self, own: Sequence[Instance], joining: Sequence[Instance]) -> Sequence[Instance]:
        """The user was last seen when either was."""
        return one_of_each(super().join(own, joining), latest=True)

    def fall_due(self, _user: User, instance: Instance) -> Instance:
        """Nothing came: the trigger fires, as of the end of the wait."""
        instance.triggered_at = instance.due
        instance.kind = DELAY
        return instance
