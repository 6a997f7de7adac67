"""One message: its decision, and what follows from it: dispatch, goal windows (S22 to S27, S31)."""

from __future__ import annotations

from typing import Any

import msgspec

from flowops.core.admission import HOLDOUT, Verdict, arm_of, cap_values, decide, prune_sends
from flowops.core.attribution import open_windows
from flowops.core.effects import Decision, Dispatch, dispatch_id
from flowops.core.plan import Attributes, Plan, Project, Step
from flowops.core.receipts import DELIVERED, SENT
from flowops.core.records import Micros
from flowops.core.shard.hearing import Hearing
from flowops.core.shard.returns import Returns, group_of
from flowops.core.state import FALLBACK, HELD, Entered, Instance, User
from flowops.core.time import Zone

_SENDS = 2  # that may lie beyond what caps count to, before they are looked through

_to_json = msgspec.json.Encoder().encode


class Sending(Returns):
    """Attempts to send."""

    def __init__(self, number: int, project: Project, hearing: Hearing) -> None:
        super().__init__(number, project, hearing)
        self._sends_kept = _SENDS + sum(cap.at_most for cap in self._caps)

    def _is_known(self, user: User, trigger: str, now: Micros) -> bool:
        """Whether something of this trigger is remembered, a message or an entry: it is a repeated event (S4)."""
        if user.entries and any(entry[3] == trigger and self._binds(entry, now) for entry in user.entries):
            return True
        if user.windows and any(
            window.trigger_id == trigger and (window.held_out or not window.compares) for window in user.windows
        ):
            return True
        return bool(user.sent) and any(sent.trigger_id == trigger and now < sent.until for sent in user.sent)

    def _hold(self, user: User, instance: Instance, verdict: Verdict, notes: tuple[Any, ...]) -> None:
        """Decide anew when it is no longer quiet (S26)."""
        held = msgspec.structs.replace(
            instance, kind=HELD, due=verdict.until, attempt=instance.attempt + 1, progress=notes
        )
        user.instances = (*user.instances, held)

    def _attempt(
        self,
        plan: Plan,
        message: int,
        user_id: str,
        user: User,
        instance: Instance,
        trigger: str,
        now: Micros,
        *,
        entered: bool = False,
        drawn: bool = False,
        expires_at: Micros | None = None,
        exited: str | None = None,
        elsewhere: bool = False,
    ) -> Verdict:
        """Decide about one message, and do what follows from it; but whoever calls holds what is held.

        Of a journey: whether a message of it has `entered` (S21), or drawn the arm (S23); and when this one expires if
        its step began before.
        """
        profile = user.profile or self._unknown
        if self._layerings:
            profile = self._layered(user, profile, now)
        step = plan.step if plan.journey is None else plan.journey.messages[message]
        if plan.lookbacks:
            profile = self._looked_back(plan, user, profile, now)
        arm, variant = drawn_arm(plan, user_id, instance)
        zone = plan.zone if self.project.zone_attribute is None else self._zone(plan, profile)
        group = group_of(step, trigger) if step.group else ""
        verdict = decide(
            plan, step, user, profile, zone, instance, now, arm, variant,
            exited=exited, elsewhere=elsewhere, entered=entered, trigger=trigger, group=group,
        )  # fmt: skip
        passed = verdict.stage == DELIVERED
        ends = (expires_at or now + step.expires) if passed else None
        layer = None if self.project.figures is None else profile[self.project.figures]
        decision = self._decision(plan, step, user_id, instance, trigger, arm, variant, layer, verdict, now, ends)
        self._effects.decisions.append(decision)
        if verdict.entered and not plan.reentry.always and not entered:
            others = [
                entry for entry in user.entries if entry[:2] != (plan.index, instance.key) and self._binds(entry, now)
            ]
            user.entries = (*others, (plan.index, instance.key, now, trigger))
        if passed:
            if step.channel.confirms:
                self._remember(plan, message, user_id, user, instance, decision)
            self._deliver(plan, step, user, profile, zone, instance, decision, group)
        if plan.goals:
            window = plan, message, user, trigger, decision.day, decision.clock, variant, instance.steps, now, now
            if decision.stage == DELIVERED:
                open_windows(*window)
            if not drawn and verdict.is_drawn and plan.compares and not _is_compared(user, trigger):
                open_windows(*window, compares=True, held_out=verdict.stage == HOLDOUT)
        return verdict

    def _binds(self, entry: Entered, now: Micros) -> bool:
        """Whether an entry can refuse one yet (S21)."""
        gap = self.project.plans[entry[0]].reentry.gap
        return gap is None or now - entry[2] < gap

    def _deliver(
        self,
        plan: Plan,
        step: Step,
        user: User,
        profile: Attributes,
        zone: Zone,
        instance: Instance,
        decision: Decision,
        group: str,
    ) -> None:
        channel, now = step.channel, decision.decided_at
        address = None if channel.address is None else str(profile[channel.address])
        name = dispatch_id(decision.trigger_id, step.name, channel.name)
        row = (name, channel.index, address, decision, plan.index, zone.name)
        self._effects.dispatches.append(tuple.__new__(Dispatch, row))
        if self._counts(plan):
            user.sends = (*user.sends, (now, plan.index, channel.index, cap_values(plan, instance.steps), group))
            if len(user.sends) > self._sends_kept:
                unsure = self._unsure(user, now)
                user.sends = prune_sends(self._caps, user.sends, now, unsure)

    def _decision(
        self,
        plan: Plan,
        step: Step,
        user_id: str,
        instance: Instance,
        trigger: str,
        arm: str | None,
        variant: str | None,
        layer: str | None,
        verdict: Verdict,
        now: Micros,
        expires_at: Micros | None,
    ) -> Decision:
        """The row. What is lost before a channel was considered has none; of a journey, the step is known (S22)."""
        in_journey = plan.journey is not None
        considered = verdict.at_channel or (in_journey and instance.kind in (HELD, FALLBACK))
        channel = step.channel if considered else None
        delivered, stage = expires_at is not None, verdict.stage
        if delivered and step.channel.undelivered_after is not None:
            stage = SENT
        row = (
            trigger,
            instance.attempt,
            plan.id,
            plan.version,
            plan.zone.day(instance.triggered_at),
            plan.zone.clock(instance.triggered_at) if plan.several_a_day else None,
            user_id,
            instance.key,
            instance.triggered_at,
            instance.evidence,
            arm,
            variant,
            layer,
            step.name if in_journey or channel is not None else None,
            None if channel is None else channel.name,
            stage,
            verdict.detail,
            now,
            expires_at,
            channel.cost if channel is not None and delivered else None,
            _to_json(verdict.content).decode() if delivered else None,
        )
        return tuple.__new__(Decision, row)  # the named way takes twice as long, for every decision


def _is_compared(user: User, trigger: str) -> bool:
    """Whether the arm of the trigger has been drawn, as far as its windows tell."""
    return any(window.compares and window.trigger_id == trigger for window in user.windows)


def drawn_arm(plan: Plan, user_id: str, instance: Instance) -> tuple[str | None, str | None]:
    """(arm, variant), S23: a journey keeps those with which it set out, whoever its user turns out to be (S2a)."""
    return arm_of(plan.experiment, user_id if plan.journey is None else instance.of or user_id)
