"""Routing: one generated function per event name that tells which listeners an event concerns.

It runs for every event of every source, so it decides on the row's own attributes, builds nothing for an event that
nobody wants, and decides plans that differ in a constant (`category = 'c1'`, `category = 'c2'`, ...) by one look-up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

from flowops.core.plan import Route
from flowops.rules.codegen import Writer, function, tuple_of
from flowops.rules.expressions import Checked
from flowops.rules.nodes import Const, Node, Ref, Strict, refs

MIN_LOOKUP = 3
"""Listeners that a look-up must serve: for fewer, comparing is as fast."""

_Listener: TypeAlias = tuple[int, tuple[Node, ...]]


def build_route(
    *, columns: Mapping[str, str], properties: Sequence[str], listeners: Sequence[tuple[int, Sequence[Checked]]]
) -> Route:
    """Compile the route of one event name.

    `columns` gives the attribute of `Row` that holds each property (`p3`), `properties` the order of `Values`,
    `listeners` the number of each (ascending) with those of its conditions that the event's own properties decide.

    Raises:
        ValueError: a condition needs more than the event, or a property has no column.
    """
    source = _Source(columns)
    asked, lookups = _lookups([(number, _conditions(parts)) for number, parts in listeners])
    body = [*source.tests(asked)]
    for lookup in lookups:
        body += source.lookup(lookup)
    if bool(asked) + len(lookups) > 1:
        body += ["if len(hits) > 1:", "    hits = tuple(sorted(hits))"]
    if all(conditions for _, conditions in asked):  # else somebody always listens
        body += ["if not hits:", "    return None"]
    values = tuple_of([f"row.{source.column(name)}" for name in properties])
    route: Route = source.function("route", [*body, f"return hits, {values}"])
    return route


@dataclass(frozen=True)
class _Lookup:
    """Listeners by the value that they want of one property, with the conditions that are then left to ask."""

    name: str
    listeners: Mapping[Any, Sequence[_Listener]]


class _Source:
    """Writes the statements of a route; every function that it makes takes the row."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = columns
        self._writer = Writer(lambda ref: f"v_{self.column(ref.name)}")

    def column(self, name: str) -> str:
        """The row's attribute for a property."""
        attribute = self._columns.get(name)
        if attribute is None:
            raise ValueError(f"the property {name} has no column")
        return attribute

    def function(self, name: str, body: Sequence[str]) -> Any:
        """Compile one function of the row."""
        return function(self._writer.names, "\n    ".join([f"def {name}(row):", *body]) + "\n", name)

    def tests(self, listeners: Sequence[_Listener]) -> list[str]:
        """Statements that collect `hits`: each property read once, then listener after listener."""
        wanted = dict.fromkeys(ref.name for _, parts in listeners for part in parts for ref in refs(part))
        lines = [f"v_{self.column(name)} = row.{self.column(name)}" for name in wanted]
        lines.append("hits = ()")
        for conditions, group in groupby(listeners, key=lambda listener: listener[1]):
            numbers = tuple_of([str(number) for number, _ in group])
            if conditions:
                lines += [f"if {' and '.join(map(self._writer.truth, conditions))}:", f"    hits += {numbers}"]
            else:
                lines.append(f"hits += {numbers}")
        return lines

    def lookup(self, lookup: _Lookup) -> list[str]:
        """Statements that add to `hits` what a look-up finds."""
        get = f".get(row.{self.column(lookup.name)}"
        if all(not conditions for group in lookup.listeners.values() for _, conditions in group):
            constant = {value: tuple(number for number, _ in group) for value, group in lookup.listeners.items()}
            return [f"hits += {self._writer.bind(constant)}{get}, ())"]
        left = {
            value: self.function(f"left_{index}", [*self.tests(group), "return hits"])
            for index, (value, group) in enumerate(lookup.listeners.items())
        }
        return [f"left = {self._writer.bind(left)}{get})", "if left is not None:", "    hits += left(row)"]


def _conditions(parts: Sequence[Checked]) -> tuple[Node, ...]:
    for part in parts:
        if not part.own or part.type != "boolean":
            raise ValueError(f"not a condition on the event alone: {part.text}")
    return tuple(conjunct.node for part in parts for conjunct in part.conjuncts())


def _lookups(listeners: Sequence[_Listener]) -> tuple[list[_Listener], list[_Lookup]]:
    """Share what can be shared: the listeners to be asked one by one, and the look-ups for the others."""
    left, lookups = list(listeners), list[_Lookup]()
    while True:
        counts = Counter(name for _, parts in left for name in {want[0] for want in map(_wanted, parts) if want})
        name, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
        if count < MIN_LOOKUP:
            return left, lookups
        table: dict[Any, list[_Listener]] = {}
        rest = []
        for number, parts in left:
            found = next((part for part in parts if (want := _wanted(part)) and want[0] == name), None)
            if found is None:
                rest.append((number, parts))
                continue
            others = tuple(part for part in parts if part is not found)
            for value in sorted(_wanted(found)[1], key=repr):  # type: ignore[index]
                table.setdefault(value, []).append((number, others))
        lookups.append(_Lookup(name, table))
        left = rest


def _wanted(node: Node) -> tuple[str, frozenset[Any]] | None:
    """The property and its values, if that is what a condition asks: `p = 'x'`, `p in ('x', 'y')`."""
    match node:
        case Strict(template="{0} == {1}", args=(Ref(name=name), Const(value=value))):
            return name, frozenset([value])
        case Strict(template="{0} == {1}", args=(Const(value=value), Ref(name=name))):
            return name, frozenset([value])
        case Strict(template="{0} in {1}", args=(Ref(name=name), Const(value=frozenset() as values))):
            return name, values
    return None
