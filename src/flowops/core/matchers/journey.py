"""What ends a wait of a journey: an event that it waits for (S30)."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.core.journey import Position, read, write
from flowops.core.matchers.base import Matcher
from flowops.core.matchers.keys import key_of
from flowops.core.plan import Attributes, Pause, Plan, Take
from flowops.core.records import Micros, Record
from flowops.core.state import JOURNEY, Instance, User


class JourneyMatcher(Matcher):
    """Stands beside the matcher of the plan's trigger. What it fires goes on with its journey."""

    __slots__ = ("_nodes",)

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._nodes = () if plan.journey is None else plan.journey.nodes

    def advance(
        self, takes: Sequence[Take], user: User, profile: Attributes, record: Record
    ) -> tuple[Sequence[Instance], bool]:
        """The journeys whose wait the event ends; it may begin something all the same."""
        resumed = [
            each
            for each in user.instances
            if each.kind == JOURNEY and each.plan == self.plan.index and self._resumes(each, takes, profile, record)
        ]
        if resumed:
            user.instances = tuple([each for each in user.instances if not any(each is one for one in resumed)])
        return resumed, False

    def _resumes(self, instance: Instance, takes: Sequence[Take], profile: Attributes, record: Record) -> bool:
        """Whether the event ends its wait; then it stands at what comes behind."""
        at, _, _, ts, _, values, _ = record
        position: Position = read(Position, instance)
        pause = self._nodes[position.node]
        if not isinstance(pause, Pause) or not _is_in_time(pause, position.base, ts):
            return False
        for each in takes:
            if (
                each.part == position.node
                and (not each.key or key_of(each.key, values) == instance.key)
                and (each.where is None or each.where(values, instance.steps, profile, ts, None))
            ):
                position.node, position.base = pause.next, at
                instance.progress = write(position)
                return True
        return False


def _is_in_time(pause: Pause, base: Micros, ts: Micros) -> bool:
    return isinstance(pause.delay, int) and base <= ts < base + pause.delay
