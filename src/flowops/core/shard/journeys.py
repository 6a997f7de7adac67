"""Plans that send more than one message at once: steps with waits, conditions and several channels (S30)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from flowops.core.admission import HELD, HOLDOUT, Verdict, trigger_id
from flowops.core.effects import LEFT_OUT, GoalEvent
from flowops.core.journey import (
    ARRIVED,
    DECIDED,
    SENT,
    Fallback,
    Hold,
    Position,
    ends_at,
    facts,
    gained,
    has_attempts,
    held_until,
    position_of,
    read,
    touches,
    write,
)
from flowops.core.plan import END, Attributes, Branch, Journey, Pause, Plan, Project, Sends, Step
from flowops.core.receipts import DELIVERED
from flowops.core.records import Micros
from flowops.core.shard.hearing import Hearing
from flowops.core.shard.sending import Sending, drawn_arm
from flowops.core.state import FALLBACK, JOURNEY, Instance, Sent, User
from flowops.core.state import HELD as IS_HELD
from flowops.core.time import isoformat

_OVER = frozenset({"plan_ended", "exited", "reentry", HOLDOUT})
"""Losses that end a journey; after any other it goes on with the next step."""


class Journeys(Sending):
    """Leads users through their journeys."""

    def __init__(self, number: int, project: Project, hearing: Hearing) -> None:
        super().__init__(number, project, hearing)
        self._has_journeys = any(plan.journey is not None for plan in project.plans)

    def _walk(
        self,
        plan: Plan,
        journey: Journey,
        user_id: str,
        user: User,
        instance: Instance,
        now: Micros,
        exited: str | None,
    ) -> None:
        """What has come to its turn: the trigger, or something of its journey; or what has `exited` (S29)."""
        if exited is not None:
            self._leave(plan, user_id, user, instance, now, exited)
        elif instance.kind == JOURNEY:
            self._come_due(plan, journey, user_id, user, instance, now)
        elif instance.kind == IS_HELD:
            self._release(plan, journey, user_id, user, instance, now)
        elif instance.kind == FALLBACK:
            self._fall_back(plan, journey, user_id, user, instance, now)
        else:
            self._set_out(plan, journey, user_id, user, instance, now)

    def _leave(self, plan: Plan, user_id: str, user: User, instance: Instance, now: Micros, exited: str) -> None:
        """What is held is lost; and the trigger, if nothing of it was decided yet."""
        if instance.kind == IS_HELD:
            hold: Hold = read(Hold, instance)
            self._attempt(plan, hold.message, user_id, user, instance, hold.trigger_id, now, exited=exited)
            return
        if instance.kind == JOURNEY:
            position: Position = read(Position, instance)
            trigger, is_new = position.trigger_id, position.before < 0
            if not is_new:
                self._end(plan, user_id, user, instance, position, now)
        else:
            trigger, is_new = _trigger_of(plan, user_id, instance), instance.kind < IS_HELD
            instance = replace(instance, of=None)
        if is_new and not self._is_known(user, trigger, now):
            self._lose(plan, user_id, user, instance, trigger, now, exited)

    def _set_out(self, plan: Plan, journey: Journey, user_id: str, user: User, fired: Instance, now: Micros) -> None:
        """The journey of a trigger begins."""
        trigger = _trigger_of(plan, user_id, fired)
        own = [each for each in user.instances if each.plan == plan.index and each.kind >= IS_HELD]
        if any(each.progress[0] == trigger for each in own) or self._is_known(user, trigger, now):
            return
        position = Position(trigger, False, 0, now, known=(0,) * len(journey.messages))
        self._go_on(plan, user_id, user, replace(fired, kind=JOURNEY, progress=(), of=None), position, now)

    def _come_due(
        self, plan: Plan, journey: Journey, user_id: str, user: User, instance: Instance, now: Micros
    ) -> None:
        """A wait is over, or what was held is so no longer."""
        position: Position = read(Position, instance)
        pause = journey.nodes[position.node]
        if isinstance(pause, Pause):
            position.timed_out = position.timed_out or pause.until_event
            position.node = pause.next
        position.base = now
        self._go_on(plan, user_id, user, instance, position, now)

    def _go_on(self, plan: Plan, user_id: str, user: User, instance: Instance, position: Position, now: Micros) -> None:
        """From the position on, until something is to be waited for or the journey is over."""
        journey = plan.journey
        if journey is None:
            raise AssertionError("a plan without steps has no journey")
        profile = self._profile(user, now)
        while position.node != END:
            if not plan.starts_at <= now < plan.ends_at:
                if position.before < 0:
                    self._lose(plan, user_id, user, instance, position.trigger_id, now, None)
                else:
                    self._end(plan, user_id, user, instance, position, now)
                return
            if journey.touches is not None and touches(journey, position) >= journey.touches:  # S29
                return
            node = journey.nodes[position.node]
            if isinstance(node, Pause):
                due = ends_at(node, position.base, profile, self._zone(plan, profile))
                position.timed_out = position.timed_out and not node.until_event
                _park(plan, user, instance, position, due)
                return
            held = held_until(user, plan.index, position.trigger_id)
            if held is not None:
                _park(plan, user, instance, position, held)
                return
            if isinstance(node, Branch):
                met = self._asks(plan, node, user_id, instance, position, profile, now)
                position.node = node.then if met else node.otherwise
                continue
            position.before = node.number
            if not self._send(plan, node, node.messages, user_id, user, instance, position, now):
                return
            position.node = node.next
        self._end(plan, user_id, user, instance, position, now)

    def _end(self, plan: Plan, user_id: str, user: User, instance: Instance, position: Position, now: Micros) -> None:
        """The journey is over; that it began is told all the same if it made no attempt."""
        if has_attempts(position):
            return
        arm, variant = drawn_arm(plan, user_id, instance)
        layer = None if self.project.figures is None else self._profile(user, now)[self.project.figures]
        own = position.trigger_id, arm, variant, layer
        row = self._decision(plan, plan.step, user_id, instance, *own, Verdict(LEFT_OUT), now, None)
        self._effects.decisions.append(row._replace(step=None))

    def _lose(
        self, plan: Plan, user_id: str, user: User, instance: Instance, trigger: str, now: Micros, exited: str | None
    ) -> None:
        """The journey ended before it came to a step: its trigger is lost."""
        self._attempt(plan, 0, user_id, user, instance, trigger, now, exited=exited)
        self._effects.decisions[-1] = self._effects.decisions[-1]._replace(step=None)

    def _asks(
        self,
        plan: Plan,
        branch: Branch,
        user_id: str,
        instance: Instance,
        position: Position,
        profile: Attributes,
        now: Micros,
    ) -> bool:
        """Whether the condition of a branch holds."""
        if plan.journey is None:
            raise AssertionError("a plan without steps has no branches")
        values, known = facts(plan.journey, position, instance.steps)
        return branch.when(values, known, profile, now, drawn_arm(plan, user_id, instance)[1])

    def _is_for(
        self, plan: Plan, step: Step, user_id: str, instance: Instance, profile: Attributes, now: Micros
    ) -> bool:
        """Whether the step's channel is one for this user."""
        if step.where is None:
            return True
        return step.where((), instance.steps, profile, now, drawn_arm(plan, user_id, instance)[1])

    def _send(
        self,
        plan: Plan,
        node: Sends,
        messages: Sequence[int],
        user_id: str,
        user: User,
        instance: Instance,
        position: Position,
        now: Micros,
        expires_at: Micros | None = None,
    ) -> bool:
        """A step, on the channels of these messages: on each of them, or up to one that is sent or held.

        False: that ends the journey.
        """
        profile = self._profile(user, now)
        for number in messages:
            step = plan.messages[number]
            elsewhere = not self._is_for(plan, step, user_id, instance, profile, now)
            if elsewhere and not instance.attempt:  # what was held is an attempt, and ends as one
                continue
            trigger, entered, drawn = position.trigger_id, position.entered, position.drawn
            verdict = self._attempt(
                plan, number, user_id, user, instance, trigger, now,
                entered=entered, drawn=drawn, expires_at=expires_at, elsewhere=elsewhere,
            )  # fmt: skip
            position.entered = entered or verdict.entered
            position.drawn = drawn or verdict.is_drawn
            if not instance.attempt and has_attempts(position):
                self._effects.further.append(plan.id)
            position.note(number, DECIDED)
            if verdict.stage in _OVER:
                return False
            if verdict.stage == HELD:
                self._hold(user, instance, verdict, write(Hold(trigger, entered, drawn, number)))
            elif verdict.stage == DELIVERED:
                position.note(number, SENT | (0 if step.channel.undelivered_after is not None else ARRIVED))
                if number != messages[-1] and not node.each and step.channel.confirms:
                    expires_at = expires_at or now + step.expires
                    due = _falls_back_at(node, step, now, expires_at)
                    progress = write(Fallback(trigger, number, expires_at))
                    fallback = replace(instance, kind=FALLBACK, due=due, attempt=0, progress=progress)
                    user.instances = (*user.instances, fallback)
            if not verdict.at_channel or (not node.each and verdict.stage in (DELIVERED, HELD)):
                break
            instance = replace(instance, attempt=0)
        return True

    def _fall_back(
        self, plan: Plan, journey: Journey, user_id: str, user: User, instance: Instance, now: Micros
    ) -> None:
        """A message has failed, or nothing was heard of it: the next of its step, if that is still worth it."""
        fallback: Fallback = read(Fallback, instance)
        if now < fallback.expires_at:
            node = journey.step_of[fallback.message]
            rest = node.messages[node.messages.index(fallback.message) + 1 :]
            blank = Position(fallback.trigger_id, True, END, now, known=(DECIDED,) * len(journey.messages), drawn=True)
            self._send_rest(plan, node, rest, user_id, user, instance, blank, now, fallback.expires_at)

    def _release(self, plan: Plan, journey: Journey, user_id: str, user: User, instance: Instance, now: Micros) -> None:
        """A message that was held is decided anew; of a step that is not `each` the next, too, if it is lost."""
        hold: Hold = read(Hold, instance)
        node = journey.step_of[hold.message]
        rest = (hold.message,) if node.each else node.messages[node.messages.index(hold.message) :]
        known = (DECIDED,) * len(journey.messages)
        blank = Position(hold.trigger_id, hold.entered, END, now, known=known, drawn=hold.drawn)
        self._send_rest(plan, node, rest, user_id, user, instance, blank, now)

    def _send_rest(
        self,
        plan: Plan,
        node: Sends,
        messages: Sequence[int],
        user_id: str,
        user: User,
        instance: Instance,
        blank: Position,
        now: Micros,
        expires_at: Micros | None = None,
    ) -> None:
        """More of a step that was come to before. The journey stands further on; or, `blank`, has no more steps."""
        walker = position_of(user, plan.index, blank.trigger_id)
        position: Position = blank if walker is None else read(Position, walker)
        position.entered = position.entered or blank.entered
        position.drawn = position.drawn or blank.drawn
        goes_on = self._send(plan, node, messages, user_id, user, instance, position, now, expires_at)
        if walker is None:
            return
        if goes_on:
            walker.progress = write(position)
        else:
            user.instances = tuple([each for each in user.instances if each is not walker])

    # --- what comes back

    def _learn(self, user_id: str, user: User, sent: Sent, reached: AbstractSet[str], now: Micros) -> None:
        plan = self.project.plans[sent.plan]
        if plan.journey is None:
            return
        walker = position_of(user, plan.index, sent.trigger_id)
        if walker is not None:
            position: Position = read(Position, walker)
            position.note(sent.message, gained(reached), 0 if reached else ARRIVED)
            walker.progress = write(position)
        fallback = next((each for each in user.instances if _is_of(each, sent)), None)
        if fallback is not None:
            user.instances = tuple([each for each in user.instances if each is not fallback])
            if not reached:
                self._fall_back(plan, plan.journey, user_id, user, fallback, now)
                self._rearm(user_id, user)

    def _attained(self, user: User, goals: Sequence[GoalEvent]) -> None:
        super()._attained(user, goals)
        if not self._has_journeys:
            return
        attained = {goal.trigger_id for goal in goals}
        for each in user.instances:
            if each.kind == JOURNEY and each.progress[0] in attained:
                position: Position = read(Position, each)
                position.attained = True
                each.progress = write(position)


def _trigger_of(plan: Plan, user_id: str, fired: Instance) -> str:
    return trigger_id(plan.id, fired.of or user_id, fired.key, fired.evidence or (isoformat(fired.triggered_at),))


def _park(plan: Plan, user: User, instance: Instance, position: Position, due: Micros) -> None:
    """Wait, but not beyond the plan's end, which ends the journey at once (S29)."""
    waits = replace(instance, kind=JOURNEY, due=min(due, plan.ends_at), attempt=0, progress=write(position))
    user.instances = (*user.instances, waits)


def _is_of(instance: Instance, sent: Sent) -> bool:
    """Whether it is what follows if this message does not arrive."""
    if instance.kind != FALLBACK or instance.plan != sent.plan:
        return False
    return list(instance.progress[:2]) == [sent.trigger_id, sent.message]


def _falls_back_at(node: Sends, step: Step, now: Micros, expires_at: Micros) -> Micros:
    """When the next channel's turn comes if nothing is heard; at the step's end where only a failure counts."""
    silent = step.channel.undelivered_after
    if silent is None:
        return expires_at
    return min(now + (silent if node.fallback_after is None else node.fallback_after), expires_at)
