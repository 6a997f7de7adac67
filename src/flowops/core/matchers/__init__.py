"""Trigger families, a file each: how an instance begins, what ends it, and when it is due.

A matcher changes the user's instances and nothing else. To add a family: its compiled trigger in `plan.py`, a file
here, and its line in `BEGIN`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from flowops.core.matchers import absence, event
from flowops.core.plan import AbsenceTrigger, EventTrigger, Plan, Start, Trigger
from flowops.core.records import Micros, Values
from flowops.core.state import Instance, User

__all__ = ["BEGIN", "Begin", "absence"]


class Begin(Protocol):
    """How an instance begins."""

    def __call__(
        self, plan: Plan, start: Start, user: User, ts: Micros, event_id: str, values: Values, key: str | None, /
    ) -> Instance | None:
        """The instance that this event begins, or None. One that is due at once is not among the user's instances."""


BEGIN: Mapping[type[Trigger], Begin] = {AbsenceTrigger: absence.begin, EventTrigger: event.begin}
"""By the trigger's type."""
