"""What the pairs are made of: a generator that had lost a kind of trigger or an option would still pass all it draws.

What there is to draw is read off the compiled plan's own types, so that a new option is missed here before it is drawn.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import driver
import pairs
import pytest

import chance
from flowops.core import plan
from flowops.core.receipts import RECEIPTS
from flowops.core.state import KINDS
from flowops.lab.checks import CHECKS

DRAWN = 2500

NOT_OF_PAIRS = {"Source", "Column", "TimeField", "Said", "EventTable", "Project"}
"""How rows are read, and what is said for people: nothing that a pair could tell."""

NEVER = {
    "Goal.target a value": "for reports only",
    "Plan.owner a value": "for reports only",
    "ScheduleTrigger.delay UntilCarried": "no event carries a time",
    "DateTrigger.delay UntilCarried": "no event carries a time",
}
"""What is not drawn, and why."""

ALWAYS = {
    "Branch.text": "for people",
    "Cap.text": "for people",
    "DateTrigger.attribute": "one date is as good as another",
    "Experiment.pinned": "of tests of plans",
    "Plan.group": "its caps name plans by their numbers",
    "Plan.owner": "for people",
    "Plan.tags": "its caps name plans by their numbers",
    "Plan.version": "one version a run",
    "Plan.who": "for people",
    "Goal.target": "for reports only",
    "ScheduleTrigger.text": "for people",
    "Resume.capture": "it keeps nothing",
    "Resume.nth": "it keeps nothing",
    "See.capture": "there is one event, of which all is kept",
    "UntilCarried.text": "for people",
}
"""What is the same in every pair, and why."""


@dataclass
class Drawn:
    """What was seen: of each field its options, and a few values; of the runs what became of them."""

    options: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    values: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    stages: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)
    late: bool = False
    goals: bool = False
    compared: set[bool] = field(default_factory=set)


def parts(value: Any) -> Iterator[Any]:
    """All that a project is made of."""
    if dataclasses.is_dataclass(value) and type(value).__module__ == plan.__name__:
        yield value
        for each in dataclasses.fields(value):
            yield from parts(getattr(value, each.name))
    elif isinstance(value, tuple):
        for each in value:
            yield from parts(each)
    elif isinstance(value, Mapping):
        yield from parts(tuple(value.values()))


def option(value: Any) -> str:
    if value is None or isinstance(value, bool | str):
        return str(value)
    return type(value).__name__ if dataclasses.is_dataclass(value) else "a value"


def options(hint: Any) -> set[str]:
    """What a field may be, by its type: each class and each word, yes and no, None and something else."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return set().union(*map(options, get_args(hint)))
    if origin is Literal:
        return set(get_args(hint))
    if hint is bool:
        return {"True", "False"}
    if hint is NoneType:
        return {"None"}
    return {hint.__name__} if dataclasses.is_dataclass(hint) else {"a value"}


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    found = Drawn()
    for seed in range(DRAWN):
        world, until = chance.Chance(seed).draw(pairs.PAIRS)
        project = world.project
        for part in parts(project):
            for each in dataclasses.fields(part):
                name, value = f"{type(part).__name__}.{each.name}", getattr(part, each.name)
                found.options[name] |= {option(value)}
                if len(found.values[name]) < 3:
                    found.values[name].add(repr(value))
        run = driver.Run(project, world.partitions(project)).to_the_end(until)
        found.stages |= {row.stage for row in run.decisions} | {row.stage for row in run.stages}
        found.pending |= {row.kind for row in run.pending}
        found.receipts |= {row.receipt for row in run.receipts}
        found.late |= bool(run.late)
        found.goals |= bool(run.goals)
        sent = {row.trigger_id for row in run.goals if row.dispatch_id}
        found.compared |= {row.trigger_id in sent for row in run.compared}
    return found


def hints() -> Iterator[tuple[str, Any]]:
    """Each field of each class that a plan is compiled to."""
    for name, each in vars(plan).items():
        if dataclasses.is_dataclass(each) and name not in NOT_OF_PAIRS:
            for of, hint in get_type_hints(each).items():
                yield f"{name}.{of}", hint


def test_each_kind_of_trigger_and_each_option_is_drawn(drawn: Drawn) -> None:
    missing = {
        f"{name} {each}"
        for name, hint in hints()
        for each in options(hint)
        if each not in drawn.options[name] and not (each == "a value" and drawn.options[name] - {"None"})
    }
    assert missing == NEVER.keys()


def test_nothing_is_always_the_same(drawn: Drawn) -> None:
    assert {name for name, _ in hints() if len(drawn.values[name]) < 2} == ALWAYS.keys()


def test_each_end_comes(drawn: Drawn) -> None:
    """S22: every loss that the decision knows, every receipt, every kind of waiting; goals and late records too."""
    assert set(CHECKS) <= drawn.stages
    assert {"sent", "delivered", "held", "expired", "send_failed", "undelivered"} <= drawn.stages
    assert set(RECEIPTS) == drawn.receipts
    assert {*KINDS, "sent"} - {"open"} == drawn.pending
    assert drawn.late
    assert drawn.goals
    assert drawn.compared == {False, True}  # also of who got no message
