"""What a change of rules changes: two versions on the same log, and each message that only one of them sends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal, NamedTuple, TypeAlias, get_args

from flowops.core.effects import LEFT_OUT, Decision, Effects
from flowops.core.receipts import DELIVERED
from flowops.core.records import Micros
from flowops.core.time import isoformat
from flowops.lab.backtest import Backtest, Result, assuming_delivery, backtest
from flowops.lab.explain import stories
from flowops.lab.versions import Versions
from flowops.rules.load import Loaded

Kind: TypeAlias = Literal["gained", "lost", "instead", "moved", "changed", "reason"]
"""A message that only the new version sends; only the old one; one for another that the user would have got; the same
at another time; on another channel or with another text; none, for another reason."""

KINDS: tuple[Kind, ...] = get_args(Kind)


class Fate(NamedTuple):
    """What came of a trigger, or of a step of it. `stage`: `delivered`, `held` where the log ends, or a loss."""

    at: Micros
    stage: str
    channel: str | None
    variant: str | None
    content: str | None
    detail: str | None


class Occasion(NamedTuple):
    """What a trigger is about, whichever version fires it."""

    user: str
    key: str | None
    evidence: tuple[str, ...]


@dataclass(slots=True)
class Example:
    """One message, before and after. No fate: that version did not trigger; `why` says what it did instead."""

    occasion: Occasion
    before: Fate | None
    after: Fate | None
    instead: Occasion | None = None  # of the new message, where that is another
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """All changes of one kind, and the first of them."""

    messages: int
    users: int
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """Of one plan; None where a version does not have it."""

    plan: str
    before: Result | None
    after: Result | None
    users_gained: int  # who get something of the plan, and got nothing before
    users_lost: int
    same: int  # messages
    changes: dict[Kind, Change]

    @property
    def differs(self) -> bool:
        """Whether it does anything else than before."""
        return (
            self.before is None or self.after is None or bool(self.changes) or _told(self.before) != _told(self.after)
        )


@dataclass(frozen=True, slots=True)
class Diff:
    """Of all plans."""

    plans: list[PlanDiff]
    before: Backtest
    after: Backtest


_Fates: TypeAlias = dict[Occasion, dict[tuple[str, str], Fate]]
"""Of each trigger: what came of it by step and channel; what came of it last, if no message, under `_LAST`."""

_LAST = "", ""


@dataclass(slots=True)
class _Ledger:
    """What came of every trigger of a version, by plan."""

    plans: dict[str, _Fates] = field(default_factory=dict)

    def add(self, all_effects: Iterable[Effects]) -> None:
        for effects in all_effects:
            for decision in effects.decisions:
                if decision.stage == LEFT_OUT:  # as where nothing is triggered, the story says why
                    continue
                began = decision.evidence or (isoformat(decision.triggered_at),)  # a schedule has its time alone
                occasion = Occasion(decision.user_id, decision.key, began)
                fates = self.plans.setdefault(decision.plan, {}).setdefault(occasion, {})
                own = decision.step or "", decision.channel or ""
                if own in fates and fates[own].stage == DELIVERED:  # told again, and forgotten: what was sent stands
                    continue
                if decision.stage == DELIVERED:
                    fates.pop(_LAST, None)
                elif decision.step is None:  # whatever was held before
                    for each in [each for each, fate in fates.items() if fate.stage != DELIVERED]:
                        del fates[each]
                fates[own] = _fate(decision)
                if decision.stage != DELIVERED:
                    fates[_LAST] = fates[own]


def diff(both: Versions, ids: Sequence[str], inputs: Sequence[str], until: Micros | None, examples: int) -> Diff:
    """Run both on the same log, as `backtest` does. `ids`: the plans that run; none: all, since they share caps.

    Raises ConfigError for an input that fits no source, InputError for one that cannot be read.
    """
    old, new = _Ledger(), _Ledger()
    before = backtest(both.old, _of(both.old, ids), inputs, until, old.add)
    after = backtest(both.new, _of(both.new, ids), inputs, until, new.add)
    was, now = both.renamed or ("", "")
    firsts = {now if result.plan == was else result.plan: result for result in before.results}
    seconds = {result.plan: result for result in after.results}
    found = [
        _plan(
            plan,
            firsts.get(plan),
            seconds.get(plan),
            old.plans.get(was if plan == now else plan, {}),
            new.plans.get(plan, {}),
            examples,
        )
        for plan in sorted({*firsts, *seconds})
    ]
    _explain(both.old, ids, found, inputs, until, "before", {now: was})
    _explain(both.new, ids, found, inputs, until, "after", {})
    return Diff(found, before, after)


def _of(version: Loaded, ids: Sequence[str]) -> list[str]:
    known = [plan.file.plan for plan in version.plans]
    return [plan for plan in known if not ids or plan in ids]


def _fate(decision: Decision) -> Fate:
    sent = decision.content is not None
    return Fate(
        decision.decided_at,
        decision.stage,
        decision.channel if sent else None,
        decision.variant,
        decision.content,
        decision.detail,
    )


def _told(result: Result) -> tuple[object, ...]:
    """What of a version's figures makes a difference: all but its own hash."""
    goals = [(goal.goal, goal.attained, goal.value, goal.held_out_attained, goal.target) for goal in result.goals]
    return (result.triggered, result.dispatched, result.losses, result.days, result.cost, goals, result.pending)


def _plan(plan: str, before: Result | None, after: Result | None, old: _Fates, new: _Fates, examples: int) -> PlanDiff:
    counted: Counter[Kind] = Counter()
    users: dict[Kind, set[str]] = {}
    shown: dict[Kind, list[Example]] = {}
    same = 0
    for kind, example in _changes(old, new):
        if kind is None:
            same += 1
            continue
        counted[kind] += 1
        users.setdefault(kind, set()).add(example.occasion.user)
        shown.setdefault(kind, []).append(example)
    got, gets = _reached(old), _reached(new)
    changes = {
        kind: Change(counted[kind], len(users[kind]), sorted(shown[kind], key=_place)[:examples])
        for kind in KINDS
        if counted[kind]
    }
    return PlanDiff(plan, before, after, len(gets - got), len(got - gets), same, changes)


def _reached(fates: _Fates) -> set[str]:
    return {occasion.user for occasion, of in fates.items() if any(each.stage == DELIVERED for each in of.values())}


def _changes(old: _Fates, new: _Fates) -> Iterator[tuple[Kind | None, Example]]:
    """Every message of either, and every loss for another reason; no kind: it is the same."""
    gone: dict[str, list[Example]] = {}
    come: dict[str, list[Example]] = {}
    for occasion in {**old, **new}:
        was, now = old.get(occasion, {}), new.get(occasion, {})
        sent = {step for fates in (was, now) for (step, _), fate in fates.items() if fate.stage == DELIVERED}
        for step in sorted(sent):
            for first, second in _pairs(_of_step(was, step), _of_step(now, step)):
                if first is None and second is not None:
                    none = was.get((step, second.channel or ""), was.get(_LAST))
                    come.setdefault(occasion.user, []).append(Example(occasion, none, second))
                elif first is not None and second is None:
                    none = now.get((step, first.channel or ""), now.get(_LAST))
                    gone.setdefault(occasion.user, []).append(Example(occasion, first, none))
                elif first is not None and second is not None:
                    yield _kind_of(first, second), Example(occasion, first, second)
        if not sent and _LAST in was and _LAST in now and was[_LAST].stage != now[_LAST].stage:
            yield "reason", Example(occasion, was[_LAST], now[_LAST])
    for user in {**gone, **come}:
        lost, gained = (sorted(each.get(user, []), key=_place) for each in (gone, come))
        for one, other in zip(lost, gained, strict=False):
            yield "instead", Example(one.occasion, one.before, other.after, other.occasion)
        for each in lost[len(gained) :]:
            yield "lost", each
        for each in gained[len(lost) :]:
            yield "gained", each


def _of_step(fates: Mapping[tuple[str, str], Fate], step: str) -> dict[str, Fate]:
    """Its messages, by channel."""
    return {channel: fate for (of, channel), fate in fates.items() if of == step and fate.stage == DELIVERED}


def _pairs(old: Mapping[str, Fate], new: Mapping[str, Fate]) -> Iterator[tuple[Fate | None, Fate | None]]:
    """Of one channel, or else one on another channel instead."""
    for channel in sorted(old.keys() & new.keys()):
        yield old[channel], new[channel]
    for was, now in zip_longest(sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())):
        yield None if was is None else old[was], None if now is None else new[now]


def _kind_of(first: Fate, second: Fate) -> Kind | None:
    if first.at != second.at:
        return "moved"
    if (first.channel, first.variant, first.content) != (second.channel, second.variant, second.content):
        return "changed"
    return None


def _place(example: Example) -> tuple[Micros, Occasion]:
    first = example.before or example.after
    at = first.at if first is not None else 0
    user, key, evidence = example.occasion
    return at, Occasion(user, key or "", evidence)


def _explain(
    version: Loaded,
    ids: Sequence[str],
    found: Sequence[PlanDiff],
    inputs: Sequence[str],
    until: Micros | None,
    which: Literal["before", "after"],
    names: Mapping[str, str],
) -> None:
    """Where a version did not trigger in an example, say why: by one more run of it, for these users alone."""
    asked = {
        id(example): ((names.get(each.plan, each.plan), example.occasion.user), example)
        for each in found
        if getattr(each, which) is not None
        for change in each.changes.values()
        for example in change.examples
        if getattr(example, which) is None
    }
    if not asked:
        return
    project = assuming_delivery(version.only(_of(version, ids))[0])
    told = stories(version, project, sorted({whose for whose, _ in asked.values()}), inputs, until)
    for whose, example in asked.values():
        example.why = told[whose].why(example.occasion.evidence)
