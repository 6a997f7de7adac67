"""The event trigger: A happened, acted on at once or after a delay (S12)."""

from __future__ import annotations

from flowops.core.plan import Plan, Start
from flowops.core.records import Micros, Values
from flowops.core.state import DELAY, Instance, User


def begin(
    plan: Plan, start: Start, user: User, ts: Micros, event_id: str, values: Values, key: str | None
) -> Instance | None:
    """The instance of one A; None when this event already waits out its delay (S4)."""
    evidence = (event_id,)
    for other in user.instances:
        if other.plan == plan.index and other.evidence == evidence and other.key == key:
            return None
    captured = tuple([values[place] for place in start.capture])
    instance = Instance(DELAY, plan.index, ts, ts + plan.trigger.delay, ts, 0, key, evidence, captured)
    if plan.trigger.delay:
        user.instances = (*user.instances, instance)
    return instance
