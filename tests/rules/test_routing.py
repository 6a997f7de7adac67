"""Routing: the generated function says what asking every listener in turn would say."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from flowops.rules.expressions import Checked, Scope, check_condition, predicate
from flowops.rules.routing import build_route

SCOPE = Scope(names={"category": "string", "brand": "string", "price": "money", "n": "number"}, user={"tier": "string"})
COLUMNS = {"brand": "p0", "price": "p1", "category": "p2", "n": "p3"}
PROPERTIES = ["price", "category"]


def condition(chance: random.Random) -> str:
    return chance.choice(
        [
            f"category = 'c{chance.randrange(6)}'",
            f"'b{chance.randrange(3)}' = brand",
            f"category in ('c{chance.randrange(6)}', 'c{chance.randrange(6)}')",
            f"n in (1, {chance.randrange(4)})",
            f"n = {chance.randrange(3)}",
            f"price >= {chance.randrange(100)}",
            f"price >= {chance.randrange(50)} and category = 'c{chance.randrange(6)}'",
            f"not (brand = 'b1' or price < {chance.randrange(100)})",
            "category like 'c%' and lower(brand) <> 'b2'",
            "price is null or category is null",
        ]
    )


@pytest.mark.parametrize("seed", range(60))
def test_a_route_agrees_with_each_listener(seed: int) -> None:
    """Any number of listeners with any conditions, NULLs among the values: the hits ascend and are exactly those."""
    chance = random.Random(seed)
    listeners: list[tuple[int, list[Checked]]] = []
    for number in range(chance.choice([0, 1, 2, 5, 40])):
        parts = [check_condition(condition(chance), SCOPE) for _ in range(chance.choice([0, 1, 1, 1, 2, 2]))]
        listeners.append((number * 3, parts))
    route = build_route(columns=COLUMNS, properties=PROPERTIES, listeners=listeners)
    layout = list(COLUMNS)
    alone = [(number, predicate(parts, event=layout, steps={}, user=[])) for number, parts in listeners]
    for _ in range(300):
        values = (
            chance.choice([None, "b0", "b1", "b2"]),
            chance.choice([None, *(float(price) for price in range(0, 100, 7))]),
            chance.choice([None, *(f"c{at}" for at in range(7))]),
            chance.choice([None, 0.0, 1.0, 2.0, 3.0]),
        )
        row: Any = SimpleNamespace(**{f"p{at}": value for at, value in enumerate(values)})
        hits = tuple(number for number, holds in alone if holds(values, (), (), 0, None))
        assert route(row) == ((hits, (values[1], values[2])) if hits else None)


def test_a_hundred_plans_on_a_hundred_categories_cost_one_look_up() -> None:
    """An event of a category that no plan names reads that one column, and no other."""

    class Row:
        p2 = "c900"

        def __getattr__(self, name: str) -> None:
            raise AssertionError(f"{name} was read")

    listeners = [(at, [check_condition(f"category = 'c{at}' and price >= {at}", SCOPE)]) for at in range(100)]
    row: Any = Row()
    assert build_route(columns=COLUMNS, properties=PROPERTIES, listeners=listeners)(row) is None


def test_what_the_event_alone_does_not_decide_is_refused() -> None:
    """The profile is known to the shard only."""
    with pytest.raises(ValueError, match="event alone"):
        build_route(columns=COLUMNS, properties=[], listeners=[(0, [check_condition("user.tier = 'gold'", SCOPE)])])


def test_a_property_without_a_column_is_refused() -> None:
    """A mistake of the compiler shows when it compiles."""
    with pytest.raises(ValueError, match="has no column"):
        build_route(columns={}, properties=["price"], listeners=[(0, [])])
