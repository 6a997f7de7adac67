"""The absence trigger: A, then no B within W (S13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from flowops.core.matchers.base import UNDER_WAY, Matcher, one_of_each
from flowops.core.matchers.keys import key_of
from flowops.core.plan import AbsenceTrigger, Attributes, Cancel, Plan, Start
from flowops.core.records import Micros, Record, Values
from flowops.core.state import DELAY, HELD, WAIT, Instance, User


class AbsenceMatcher(Matcher):
    """Waits from A on, and fires at its deadline unless it was cancelled."""

    __slots__ = ("_repeat", "_within")

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        trigger = cast("AbsenceTrigger", plan.trigger)
        self._repeat = trigger.repeat
        self._within = trigger.within

    def begin(
        self, starts: Sequence[Start], user: User, ts: Micros, event_id: str, values: Values, key: str | None
    ) -> Instance | None:
        """The wait that this A begins; None when it is ignored (`repeat`, or the event is a repeated one: S4)."""
        index = self.plan.index
        parallel = 0
        for other in user.instances:
            if other.plan == index and other.key == key:
                if event_id in other.evidence:
                    return None
                if other.kind != WAIT:
                    continue
                if self._repeat == "ignore":
                    return None
                if self._repeat == "restart":
                    user.instances = tuple([each for each in user.instances if each is not other])
                parallel += 1
        if parallel >= UNDER_WAY and self._repeat == "parallel":
            return None
        ((_, places),) = starts[0].capture
        captured = tuple([values[place] for place in places])
        instance = Instance(WAIT, index, ts, ts + self._within, 0, 0, key, (event_id,), (captured,))
        user.instances = (*user.instances, instance)
        return instance

    def join(self, own: Sequence[Instance], joining: Sequence[Instance]) -> Sequence[Instance]:
        """As though both A's were the user's: by `repeat`, the first waits, the last, or both do."""
        both = super().join(own, joining)
        return both if self._repeat == "parallel" else one_of_each(both, latest=self._repeat == "restart")

    def fall_due(self, _user: User, instance: Instance) -> Instance:
        """The wait is over: the trigger fires, as of its deadline."""
        instance.triggered_at = instance.due
        instance.kind = DELAY
        return instance


def cancel(
    cancels: Mapping[int, Sequence[Cancel]], plans: Sequence[Plan], user: User, profile: Attributes, record: Record
) -> None:
    """End every instance that this B matches: `[tA, tA + W)`, by key, by its filter (S13, S17a). `cancels`: by plan.

    All plans in one pass, since one event may end the waits of many. A late B counts as of its own time, if what it
    cancels still waits, be it out its delay (S9). The event that began a wait never ends it.
    """
    _, _, _, ts, event_id, values, _ = record
    user.instances = tuple(
        [
            instance
            for instance in user.instances
            if instance.plan not in cancels
            or instance.kind >= HELD
            or not instance.since <= ts < instance.since + cast("AbsenceTrigger", plans[instance.plan].trigger).within
            or event_id in instance.evidence
            or not any(_matches(each, instance, profile, ts, values) for each in cancels[instance.plan])
        ]
    )


def _matches(cancel: Cancel, instance: Instance, profile: Attributes, ts: Micros, values: Values) -> bool:
    if cancel.key and key_of(cancel.key, values) != instance.key:
        return False
    return cancel.where is None or cancel.where(values, instance.steps, profile, ts, None)
