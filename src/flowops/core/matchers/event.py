"""The event trigger: A happened, acted on at once or after a delay (S12)."""

from __future__ import annotations

from flowops.core.plan import EventTrigger, Plan
from flowops.core.records import Micros, Values
from flowops.core.state import DELAY, Instance, User


def begin(
    plan: Plan, trigger: EventTrigger, user: User, ts: Micros, event_id: str, key: str | None, captured: Values
) -> Instance | None:
    """The instance of one A; None when this event already waits out its delay (S4)."""
    evidence = (event_id,)
    for other in user.instances:
        if other.plan == plan.index and other.evidence == evidence and other.key == key:
            return None
    instance = Instance(DELAY, plan.index, ts, ts + trigger.delay, ts, 0, key, evidence, captured)
    if trigger.delay:
        user.instances.append(instance)
    return instance
