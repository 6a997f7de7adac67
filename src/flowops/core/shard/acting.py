"""What is done with what has come to its turn: a trigger that fired, what was held, what is exited (S12, S29)."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.core.admission import HELD as HELD_BACK
from flowops.core.admission import trigger_id
from flowops.core.delay import acted_on_at
from flowops.core.journey import Position, read
from flowops.core.matchers.base import UNDER_WAY
from flowops.core.matchers.keys import key_of
from flowops.core.plan import Attributes, DateTrigger, Exit, Plan, Project
from flowops.core.records import Micros, Record, Values
from flowops.core.shard.hearing import Hearing
from flowops.core.shard.journeys import Journeys
from flowops.core.state import DELAY, HELD, JOURNEY, OPEN, WAIT, Instance, User
from flowops.core.time import isoformat


class Acting(Journeys):
    """Acts on triggers that have fired."""

    def __init__(self, number: int, project: Project, hearing: Hearing) -> None:
        super().__init__(number, project, hearing)
        self._dated = frozenset(plan.index for plan in project.plans if isinstance(plan.trigger, DateTrigger))

    def _act(self, plan: Plan, user_id: str, user: User, fired: Instance, now: Micros) -> None:
        """Act on a trigger that has fired: decide, unless there is a delay to be waited out before (S12).

        Or on a journey that has met what it waited for.
        """
        if fired.kind == JOURNEY:
            self._go_on(plan, user_id, user, fired, read(Position, fired), now)
            return
        if user.instances and _is_one_too_many(user, fired):
            return
        delay = plan.trigger.delay
        if delay:
            profile = user.profile or self._unknown
            due = acted_on_at(delay, fired.triggered_at, fired.steps, profile, self._zone(plan, profile))
            if due is None:
                return
            if due > now:
                fired.due = due
                user.instances = (*user.instances, fired)
                return
        self._decide(plan, user_id, user, fired, now)

    def _exit(self, exits: Sequence[Exit], user_id: str, user: User, profile: Attributes, record: Record) -> None:
        """End the journeys that the event ends (S29): what has fired is lost; what has not, never was."""
        at, _, _, ts, event_id, values, _ = record
        gone = [
            each
            for each in user.instances
            if each.since <= ts
            and event_id not in each.evidence
            and not (each.kind == OPEN and each.plan in self._dated)
            and any(self._leaves(exit_, each, profile, ts, values) for exit_ in exits if exit_.plan == each.plan)
        ]
        if not gone:
            return
        user.instances = tuple([each for each in user.instances if each not in gone])
        for instance in sorted(gone, key=turn):
            if instance.kind not in (WAIT, OPEN):
                self._decide(self.project.plans[instance.plan], user_id, user, instance, at, f"by {event_id}")

    def _leaves(self, exit_: Exit, instance: Instance, profile: Attributes, ts: Micros, values: Values) -> bool:
        if exit_.key:
            key = key_of(exit_.key, values)
            if key is None or key != instance.key:
                return False
        steps = instance.steps or self.project.plans[instance.plan].blank
        return exit_.where is None or exit_.where(values, steps, profile, ts, None)

    def _decide(
        self, plan: Plan, user_id: str, user: User, instance: Instance, now: Micros, exited: str | None = None
    ) -> None:
        """What has come to its turn is decided, or goes on (S30), and what follows from it is done (S22 to S27)."""
        if plan.journey is not None:
            self._walk(plan, plan.journey, user_id, user, instance, now, exited)
            return
        events = instance.evidence or (isoformat(instance.triggered_at),)  # what no event began, its time tells apart
        trigger = trigger_id(plan.id, instance.of or user_id, instance.key, events)
        if (user.windows or user.sent or user.entries) and self._is_known(user, trigger, now):
            return
        verdict = self._attempt(plan, 0, user_id, user, instance, trigger, now, exited=exited)
        if verdict.stage == HELD_BACK:
            self._hold(user, instance, verdict, ())


def _is_one_too_many(user: User, fired: Instance) -> bool:
    """Whether what has fired waits for its turn already (S4), or too much of its plan and key has that is not over."""
    own = [
        each
        for each in user.instances
        if each.plan == fired.plan and each.key == fired.key and each.kind not in (WAIT, OPEN)
    ]
    for each in own:
        if each.evidence != fired.evidence or each.of != fired.of or each.kind not in (DELAY, HELD):
            continue
        if fired.evidence or each.triggered_at == fired.triggered_at:  # what no event began, its time tells apart
            return True
    if len(own) < UNDER_WAY:
        return False
    return len({each.progress[0] if each.kind >= HELD and each.progress else id(each) for each in own}) >= UNDER_WAY


def turn(instance: Instance) -> tuple[int, Micros, bool]:
    """Of several of one user at one instant, which comes first (S7); of a journey, its next step comes last."""
    return instance.plan, instance.since, instance.kind == JOURNEY
