"""The event trigger: A happened (S12)."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.core.matchers.base import Matcher
from flowops.core.plan import Start
from flowops.core.records import Micros, Values
from flowops.core.state import DELAY, Instance, User


class EventMatcher(Matcher):
    """Fires at once."""

    __slots__ = ()

    def begin(
        self, starts: Sequence[Start], user: User, ts: Micros, event_id: str, values: Values, key: str | None
    ) -> Instance | None:
        """The instance of one A; None when this event already waits out its delay (S4)."""
        index = self.plan.index
        evidence = (event_id,)
        for other in user.instances:
            if other.plan == index and other.evidence == evidence and other.key == key:
                return None
        ((_, places),) = starts[0].capture
        captured = tuple([values[place] for place in places])
        return Instance(DELAY, index, ts, ts, ts, 0, key, evidence, (captured,))
