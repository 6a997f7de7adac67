"""Trigger families, a file each: how an instance begins, what ends it, and when it is due.

A matcher changes the user's instances and nothing else. To add a family: its compiled trigger in `plan.py`, a file
here, and its line in `begin`.
"""

from __future__ import annotations

from flowops.core.matchers import absence, event
from flowops.core.plan import AbsenceTrigger, Plan, Start
from flowops.core.records import Record
from flowops.core.state import Instance, User

__all__ = ["absence", "begin"]


def begin(plan: Plan, start: Start, user: User, record: Record, key: str | None) -> Instance | None:
    """The instance that this event begins, or None. One that is due at once is not among the user's instances."""
    _, _, _, ts, event_id, values, _ = record
    captured = tuple([values[place] for place in start.capture])
    if isinstance(plan.trigger, AbsenceTrigger):
        return absence.begin(plan, plan.trigger, user, ts, event_id, key, captured)
    return event.begin(plan, plan.trigger, user, ts, event_id, key, captured)
