"""The absence trigger: A, then no B within W (S13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from flowops.core.matchers.keys import key_of
from flowops.core.plan import AbsenceTrigger, Attributes, Cancel, Plan, Start, Trigger
from flowops.core.records import Micros, Record, Values
from flowops.core.state import DELAY, HELD, WAIT, Instance, User


def begin(
    plan: Plan, start: Start, user: User, ts: Micros, event_id: str, values: Values, key: str | None
) -> Instance | None:
    """The wait that this A begins; None when it is ignored (`repeat`, or the event is a repeated one: S4)."""
    trigger = cast("AbsenceTrigger", plan.trigger)
    restarted: list[Instance] = []
    for other in user.instances:
        if other.kind == WAIT and other.plan == plan.index and other.key == key:
            if trigger.repeat == "ignore" or event_id in other.evidence:
                return None
            if trigger.repeat == "restart":
                restarted.append(other)
    if restarted:
        user.instances = tuple([other for other in user.instances if other not in restarted])
    captured = tuple([values[place] for place in start.capture])
    instance = Instance(WAIT, plan.index, ts, ts + trigger.within, 0, 0, key, (event_id,), captured)
    user.instances = (*user.instances, instance)
    return instance


def cancel(
    cancels: Mapping[int, Sequence[Cancel]], plans: Sequence[Plan], user: User, profile: Attributes, record: Record
) -> None:
    """End every instance that this B matches: `[tA, tA + W)`, by key, by its filter (S13, S17a). `cancels`: by plan.

    A late B counts as of its own time, if what it cancels still waits, be it out its delay (S9). The event that began a
    wait never ends it.
    """
    _, _, _, ts, event_id, values, _ = record
    user.instances = tuple(
        [
            instance
            for instance in user.instances
            if instance.plan not in cancels
            or instance.kind == HELD
            or not instance.since <= ts < instance.since + cast("AbsenceTrigger", plans[instance.plan].trigger).within
            or event_id in instance.evidence
            or not any(_matches(each, instance, profile, ts, values) for each in cancels[instance.plan])
        ]
    )


def _matches(cancel: Cancel, instance: Instance, profile: Attributes, ts: Micros, values: Values) -> bool:
    if cancel.key and key_of(cancel.key, values) != instance.key:
        return False
    return cancel.where is None or cancel.where(values, (instance.captured,), profile, ts, None)


def fire(trigger: Trigger, user: User, instance: Instance) -> bool:
    """The wait is over: the trigger fires at its deadline. False when it is still to be acted on after a delay."""
    instance.triggered_at = instance.due
    instance.kind = DELAY
    if not trigger.delay:
        return True
    instance.due += trigger.delay
    user.instances = (*user.instances, instance)
    return False
