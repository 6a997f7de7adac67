"""What comes back of a message: receipts, or nothing in time; consent that is withdrawn (S27, S40)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter

from flowops.core.admission import cap_values
from flowops.core.attribution import attain_by_receipt, open_windows
from flowops.core.effects import Decision, GoalEvent, Receipt, StageChange, dispatch_id
from flowops.core.plan import Plan, Project, Step
from flowops.core.receipts import (
    DELIVERED,
    FAILURES,
    REACHED,
    UNDELIVERED,
    WITHDRAWALS,
    find,
    may_fail,
    remember,
    withdraw,
)
from flowops.core.records import TRIGGER_ID, Micros, Record, shard_of
from flowops.core.shard.base import Base
from flowops.core.shard.hearing import Hearing
from flowops.core.state import Instance, Send, Sent, User
from flowops.core.timers import NEVER


class Returns(Base):
    """Keeps what a receipt of a message will need, and does what it says."""

    def __init__(self, number: int, project: Project, hearing: Hearing) -> None:
        super().__init__(number, project, hearing)
        windows = [plan.skip_if_reached for plan in project.plans if plan.skip_if_reached is not None]
        self._caps = tuple({*windows, *(cap for plan in project.plans for cap in plan.caps)})
        self._sent_to: dict[str, str] = {}  # trigger id -> user, of the messages that are remembered
        self._channels: dict[str, set[int]] = {}  # by what a dispatch id ends with; `a-b` on `c` and `a` on `b-c`: both
        for step in [step for plan in project.plans for step in plan.messages]:
            self._channels.setdefault(dispatch_id("", step.name, step.channel.name), set()).add(step.channel.index)

    def _remember(
        self, plan: Plan, message: int, user_id: str, user: User, instance: Instance, decision: Decision
    ) -> None:
        """Keep what a receipt of this message will need."""
        channel, now = plan.messages[message].channel, decision.decided_at
        self._forget(user, now)
        stage, until, due = remember(channel, now, decision.expires_at or now)
        opened = stage == DELIVERED
        windows_to_come = not opened and any(goal.receipt is None for goal in plan.goals)
        sent = Sent(
            plan.index,
            message,
            decision.trigger_id,
            decision.day,
            decision.clock,
            decision.variant,
            instance.steps if windows_to_come else (),
            now,
            NEVER if due is None else due,
            until,
            stage,
            proven=False,
            opened=opened,
            changes=0,
            cap_values=cap_values(plan, instance.steps),
        )
        if opened:
            self._await_goals(plan, sent, now)
        user.sent = (*user.sent, sent)
        self._sent_to[sent.trigger_id] = user_id

    def _take_receipt(self, record: Record) -> list[GoalEvent]:
        """What a receipt says of a message that is remembered, and of its user's consent (S27, S40): its goals."""
        at, _, whose, ts, event_id, (dispatch, receipt, detail, named), _ = record
        self._effects.receipts.append(Receipt(dispatch, receipt, ts, named, event_id, detail))
        user_id = self._sent_to.get(dispatch[:TRIGGER_ID])
        user = None if user_id is None else self._users.find(user_id)
        sent = None if user is None else find(self.project.plans, user, dispatch, at)
        if receipt in WITHDRAWALS:
            is_here = named and shard_of(named, self.project.shards) == self.number
            self._withdraw(whose if is_here else None if sent is None else user_id, dispatch, ts)
        if user_id is None or user is None or sent is None:
            return []
        moment = max(ts, sent.decided_at)  # clocks differ; no message arrives before it is sent
        if receipt in REACHED:
            self._prove(user, sent, moment, at, detail)
            attained = attain_by_receipt(self.project.plans, user, sent, REACHED[receipt], user_id, moment, event_id)
            if attained:
                self._attained(user, attained)
            self._learn(user_id, user, sent, REACHED[receipt], at)
            self._rearm(user_id, user)
            return attained
        if receipt in FAILURES and may_fail(sent):
            self._change(sent, FAILURES[receipt], moment, detail)
            own = sent.trigger_id, sent.message
            user.windows = tuple(
                [window for window in user.windows if window.compares or (window.trigger_id, window.message) != own]
            )
            if (send := self._send_of(sent)) in user.sends:
                place = user.sends.index(send)
                user.sends = user.sends[:place] + user.sends[place + 1 :]
            self._learn(user_id, user, sent, frozenset(), at)
        return []

    def _attained(self, _user: User, goals: Sequence[GoalEvent]) -> None:
        """Goals have been attained."""
        self._effects.goals.extend(goals)

    def _learn(self, user_id: str, user: User, sent: Sent, reached: AbstractSet[str], now: Micros) -> None:
        """A receipt has proved that the message `reached` so far, or, where that is nothing, that it failed."""

    def _prove(self, user: User, sent: Sent, moment: Micros, now: Micros, detail: str | None) -> None:
        """The message arrived at `moment`, whatever was believed before."""
        if sent.proven:
            return
        if sent.stage in FAILURES.values() and self._counts(self.project.plans[sent.plan]):  # it counts after all
            user.sends = tuple(sorted((*user.sends, self._send_of(sent)), key=itemgetter(0)))
        sent.proven = True
        if sent.stage != DELIVERED:
            self._change(sent, DELIVERED, moment, detail)
        if not sent.opened:
            sent.opened = True
            plan = self.project.plans[sent.plan]
            message, trigger, of = sent.message, sent.trigger_id, (sent.day, sent.clock)
            open_windows(plan, message, user, trigger, *of, sent.variant, sent.steps, moment, now)
            self._await_goals(plan, sent, moment)

    def _wait_no_longer(self, user: User, now: Micros) -> None:
        """Nothing was heard of a message in time: it counts as undelivered, until something is."""
        for sent in user.sent:
            if sent.due <= now:
                self._change(sent, UNDELIVERED, sent.due, None)
        self._forget(user, now)

    def _change(self, sent: Sent, stage: str, moment: Micros, detail: str | None) -> None:
        sent.stage = stage
        sent.due = NEVER
        sent.changes += 1
        step = self.project.plans[sent.plan].messages[sent.message]
        self._effects.stages.append(
            StageChange(sent.trigger_id, step.name, step.channel.name, sent.changes, stage, moment, detail)
        )

    def _withdraw(self, user_id: str | None, dispatch: str, ts: Micros) -> None:
        if user_id:
            for channel in sorted(self._channels.get(dispatch[TRIGGER_ID:], ())):
                withdraw(self._users.find(user_id) or self._users.create(user_id), channel, ts)

    def _await_goals(self, plan: Plan, sent: Sent, opened: Micros) -> None:
        """Remember the message as long as a receipt of it may attain a goal."""
        sent.until = max([sent.until, *(opened + goal.window for goal in plan.goals if goal.receipt)])

    def _forget(self, user: User, now: Micros) -> None:
        """Forget the messages of which nothing counts any more."""
        if any(sent.until <= now for sent in user.sent):
            kept = tuple([sent for sent in user.sent if sent.until > now])
            known = {sent.trigger_id for sent in kept}
            for sent in user.sent:
                if sent.trigger_id not in known:
                    self._sent_to.pop(sent.trigger_id, None)
            user.sent = kept

    def _counts(self, plan: Plan) -> bool:
        """Whether what the plan sends counts for a cap."""
        return bool(self._caps) and not plan.transactional

    def _unsure(self, user: User, now: Micros) -> set[Send]:
        """The sends that may still be given back."""
        return {self._send_of(sent) for sent in user.sent if may_fail(sent) and now < sent.until}

    def _send_of(self, sent: Sent) -> Send:
        step = self.project.plans[sent.plan].messages[sent.message]
        return sent.decided_at, sent.plan, step.channel.index, sent.cap_values, group_of(step, sent.trigger_id)


def group_of(step: Step, trigger_id: str) -> str:
    """What the messages of one step have in common that count once towards a cap (S24)."""
    return f"{trigger_id}-{step.group}" if step.group else ""
