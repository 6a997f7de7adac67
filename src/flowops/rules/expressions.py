"""Filters: SQL expressions, read and checked against what is declared, then compiled to Python.

`check` reads a text with sqlglot and gives a typed, immutable `Checked`, or an `ExpressionError` with the place and a
hint; `predicate` and `expression` compile what was checked. The language is a small part of DuckDB's, and what is in
it means what it means there, with every number a double and every local time in `Scope.zone`. At run time a `time` is
an int of microseconds since the epoch, a `date` an int of days since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowops.core.plan import Expression, Predicate
from flowops.core.time import Zone
from flowops.rules.codegen import Writer, function
from flowops.rules.nodes import Logic, Node, Ref, Type, refs

UTC = Zone("UTC")


class Undeclared(dict[str, Type]):
    """The properties of an event that is not declared: nobody knows them."""


@dataclass(frozen=True)
class Scope:
    """The names that a text may use, with their types."""

    names: Mapping[str, Type]
    """Bare names: the properties of the event at hand."""
    steps: Mapping[str, Mapping[str, Type]] = field(default_factory=dict)
    """Earlier steps by name, with their properties."""
    user: Mapping[str, Type] = field(default_factory=dict)
    """The attributes of the profile."""
    bare: str = "event"
    """What the bare names are, for messages: the properties of which event."""
    variant: bool = False
    now: bool = True
    zone: Zone = UTC
    """Of local times and dates: the plan's."""
    times: Mapping[str, int | None] = field(default_factory=dict)
    """How often those steps are taken at most, that are taken several times; None: without end."""

    def follows(self, step: str) -> bool:
        """Whether nobody can tell what the step carries, or what it is called, before an event is declared."""
        if step in self.steps:
            return isinstance(self.steps[step], Undeclared)
        return any(isinstance(types, Undeclared) for types in self.steps.values())


class ExpressionError(Exception):
    """A text that cannot be a filter: `code` is stable, `offset` the 0-based character at which it goes wrong."""

    def __init__(self, code: str, message: str, offset: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset
        self.hint = hint


@dataclass(frozen=True)
class Checked:
    """An expression whose names and types fit."""

    text: str
    node: Node

    @property
    def type(self) -> Type:
        """The type of its value."""
        return self.node.type

    @property
    def properties(self) -> frozenset[str]:
        """The properties of the event at hand that it reads."""
        return frozenset(ref.name for ref in refs(self.node) if ref.kind == "event")

    @property
    def step_properties(self) -> frozenset[tuple[str, str]]:
        """(step, property) of the earlier steps that it reads; a step as `slot_of` calls it."""
        return frozenset((ref.step, ref.name) for ref in refs(self.node) if ref.kind == "step")

    @property
    def attributes(self) -> frozenset[str]:
        """The attributes of the profile that it reads."""
        return frozenset(ref.name for ref in refs(self.node) if ref.kind == "user")

    @property
    def uses_now(self) -> bool:
        """Whether it reads `now`."""
        return any(ref.kind == "now" for ref in refs(self.node))

    @property
    def uses_variant(self) -> bool:
        """Whether it reads `variant`."""
        return any(ref.kind == "variant" for ref in refs(self.node))

    @property
    def own(self) -> bool:
        """Whether the event's own properties decide it, so that it can be decided before routing."""
        return all(ref.kind == "event" for ref in refs(self.node))

    def conjuncts(self) -> tuple[Checked, ...]:
        """The conditions of which it is the `and`; itself if it is none."""
        if isinstance(self.node, Logic) and self.node.op == "and":
            return tuple(part for arg in self.node.args for part in Checked(self.text, arg).conjuncts())
        return (self,)


class FollowsError(Exception):
    """What a text names hangs on an event that is not declared: that is told where the event stands."""


def slot_of(step: str, nth: int) -> str:
    """What the nth taking of a step is called among `core.plan.Steps`."""
    return f"{step}[{nth}]"


def check(text: str, scope: Scope) -> Checked:
    """Read an expression and check its names and types.

    Raises:
        ExpressionError: codes `filter-syntax`, `filter-unsupported` (SQL, but not of this language), `filter-name`,
            `filter-function`, `filter-type`.
        FollowsError: it names a step of an event that is not declared.
    """
    from flowops.rules.parser import parse  # noqa: PLC0415 - sqlglot takes a quarter of a second

    return Checked(text, parse(text, scope))


def check_condition(text: str, scope: Scope) -> Checked:
    """As `check`, of what must be true or false.

    Raises:
        ExpressionError: also `filter-type` where it is neither.
    """
    checked = check(text, scope)
    if checked.type != "boolean":
        raise ExpressionError(
            "filter-type", f"a condition is wanted, but this is a {checked.type}", 0, "compare it with something"
        )
    return checked


def predicate(
    parts: Sequence[Checked], *, event: Sequence[str], steps: Mapping[str, Sequence[str]], user: Sequence[str]
) -> Predicate:
    """Compile the `and` of conditions.

    `event`, `steps` and `user` are the layouts of the arguments of a `core.plan.Predicate`: the names of the event's
    values, of each step's captured values (the mapping's order is the order of `Steps`), of the attributes.

    Raises:
        ValueError: a part is no condition, or uses a name that the layouts lack.
    """
    if any(part.type != "boolean" for part in parts):
        raise ValueError("a predicate is made of conditions")
    writer = Writer(_layout(event, steps, user))
    made: Predicate = _compiled(writer, " and ".join(writer.truth(part.node) for part in parts) or "True")
    return made


def expression(
    checked: Checked, *, event: Sequence[str], steps: Mapping[str, Sequence[str]], user: Sequence[str]
) -> Expression:
    """Compile a value; the layouts are those of `predicate`.

    A number comes as a float or an int and is always finite: what SQL makes infinite or NaN is NULL here.

    Raises:
        ValueError: it uses a name that the layouts lack.
    """
    writer = Writer(_layout(event, steps, user))
    value = writer.value(checked.node)
    made: Expression = _compiled(writer, f"finite({value})" if checked.type in {"number", "money"} else value)
    return made


def _compiled(writer: Writer, body: str) -> Any:
    return function(writer.names, f"def compiled(event, steps, user, now, variant):\n    return {body}\n", "compiled")


def _layout(event: Sequence[str], steps: Mapping[str, Sequence[str]], user: Sequence[str]) -> Any:
    places = {("event", "", name): f"event[{at}]" for at, name in enumerate(event)}
    places |= {("user", "", name): f"user[{at}]" for at, name in enumerate(user)}
    for index, (step, names) in enumerate(steps.items()):
        places |= {("step", step, name): f"steps[{index}][{at}]" for at, name in enumerate(names)}
    places[("now", "", "")] = "now"
    places[("variant", "", "")] = "variant"

    def place(ref: Ref) -> str:
        found = places.get((ref.kind, ref.step, ref.name))
        if found is None:
            raise ValueError(f"the layout has no {ref.kind} value {ref.step}.{ref.name}".replace(" .", " "))
        return found

    return place


__all__ = [
    "Checked",
    "ExpressionError",
    "FollowsError",
    "Scope",
    "Type",
    "Undeclared",
    "check",
    "check_condition",
    "expression",
    "predicate",
    "slot_of",
]
