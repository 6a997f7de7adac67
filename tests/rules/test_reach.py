"""A condition that is told to be never true is true of no row; what people get wrong is told, with the reason."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

import pytest
from oracle import EVENT, SCOPE, STEPS, USER, Writer, rows_of

from chance import Chance
from flowops.core.time import Zone
from flowops.rules.expressions import Scope, check, predicate
from flowops.rules.nodes import Not
from flowops.rules.reach import never

NAMES = Scope(
    names={"price": "money", "city": "string", "ok": "boolean", "d": "date", "t": "time"},
    steps={"viewed": {"sku": "string", "price": "money", "d": "date"}, "paid": {"price": "money"}},
    user={"tier": "string"},
    variant=True,
    zone=Zone("Asia/Shanghai"),
)


def told(text: str) -> list[tuple[str, bool]]:
    found = never([check(text, NAMES).node], domains={"variant": ["short", "long"]}, zone=NAMES.zone)
    return [(each.why, each.whole) for each in found]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("price > 100 and price < 50", "`price` would have to be above 100, and below 50"),
        ("price between 5 and 3", "`price` would have to be at least 5, and at most 3"),
        ("price > 5 and price <= 5", "`price` would have to be above 5, and at most 5"),
        ("price = 5 and price <> 5", "`price` would have to be 5, and not 5"),
        ("50 > price and not price < 60.5", "`price` would have to be at least 60.5, and below 50"),
        ("price > 2 * 50 and price < 50", "`price` would have to be above 100, and below 50"),
        ("price + 1 > 5 and price + 1 < 3", "what is made of `price` would have to be above 5, and below 3"),
        ("city = 'A' and city = 'B'", "`city` would have to be 'A', and 'B'"),
        ("city in ('A', 'B') and city not in ('A', 'B')", "`city` would have to be 'A' or 'B', and not 'A' or 'B'"),
        ("lower(city) = 'a' and lower(city) = 'b'", "what is made of `city` would have to be 'a', and 'b'"),
        ("city = 'AB' and city like 'B%'", "`city` would have to be 'AB', which another condition refuses"),
        ("city = 'AB' and length(city) = 3", "`city` would have to be 'AB', which another condition refuses"),
        ("city is null and city = 'A'", "`city` would have to be NULL, and to have a value"),
        ("city is null and lower(city) <> 'a'", "`city` would have to be NULL, and to have a value"),
        ("ok and not ok", "`ok` would have to be true, and false"),
        ("ok is not true and ok", "`ok` would have to be true, and not true"),
        ("d > '2022-04-20' and d < '2022-04-21'", "`d` would have to be above '2022-04-20', and below '2022-04-21'"),
        (
            "t >= '2022-04-20 10:00' and t < '2022-04-20 10:00'",
            "`t` would have to be at least '2022-04-20 10:00', and below '2022-04-20 10:00'",
        ),
        ("viewed.sku = 'A' and viewed.sku = 'B'", "`viewed.sku` would have to be 'A', and 'B'"),
        ("user.tier = 'gold' and user.tier is null", "`user.tier` would have to be NULL, and to have a value"),
        ("variant = 'middle'", "`variant` would have to be 'long' or 'short', and 'middle'"),
        ("now is null", "`now` would have to be NULL, and to have a value"),
        ("1 = 2", "it compares constants, and is always false"),
        ("price > 5 and false", "it is always false"),
        ("not (price > 5 or price <= 5)", "`price` would have to be above 5, and at most 5"),
        ("price > 10 and (price < 5 or price = 3)", "`price` would have to be above 10, and below 5"),
        (
            "price > viewed.price and price < viewed.price",
            "it would have to be that `price` < `viewed.price` < `price`",
        ),
        (
            "price >= viewed.price and not price >= viewed.price",
            "it would have to be that `price` < `viewed.price` <= `price`",
        ),
        ("price > price", "it would have to be that `price` < `price`"),
        ("price <> price", "`price` would have to be the same, and not the same"),
        (
            "price > viewed.price and viewed.price >= paid.price and paid.price = price",
            "it would have to be that `price` = `paid.price` <= `viewed.price` < `price`",
        ),
        (
            "price between viewed.price and paid.price and viewed.price > paid.price",
            "it would have to be that `price` <= `paid.price` < `viewed.price` <= `price`",
        ),
        (
            "price <= viewed.price and price >= viewed.price and price <> viewed.price",
            "`price` and `viewed.price` would have to be the same, and not the same",
        ),
        (
            "price > viewed.price and viewed.price > 100 and price < 50",
            "it would have to be that 100 < `viewed.price` < `price` < 50",
        ),
        (
            "price > viewed.price and viewed.price >= 50 and price <= 50",
            "it would have to be that 50 <= `viewed.price` < `price` <= 50",
        ),
        (
            "price = viewed.price and price in (5, 9) and viewed.price in (6, 7, 8)",
            "`price` would have to be 5 or 9, and `viewed.price`, which is the same, 6 or 7 or 8",
        ),
        (
            "city = viewed.sku and city = 'A' and viewed.sku <> 'A'",
            "`city` would have to be 'A', and `viewed.sku`, which is the same, not 'A'",
        ),
        (
            "city <> viewed.sku and city = 'A' and viewed.sku = 'A'",
            "`city` and `viewed.sku` would have to be 'A', and not the same",
        ),
        (
            "d > viewed.d and d < '2022-04-20' and viewed.d > '2022-04-20'",
            "it would have to be that '2022-04-20' < `viewed.d` < `d` < '2022-04-20'",
        ),
        (
            "price / 2 > viewed.price and price / 2 < viewed.price",
            "it would have to be that what is made of `price` < `viewed.price` < what is made of `price`",
        ),
        (
            "price < viewed.price and (price > viewed.price or price = viewed.price)",
            "it would have to be that `price` < `viewed.price` < `price`",
        ),
    ],
)
def test_contradictions_are_found_with_the_reason(text: str, why: str) -> None:
    assert told(text) == [(why, True)]


@pytest.mark.parametrize(
    "text",
    [
        "price >= 5 and price <= 5",
        "price not between 5 and 10 and price > 7",
        "d > '2022-04-20' and d < '2022-04-22'",
        "city is null or city <> 'A'",
        "coalesce(price, 0) > 5 and coalesce(price, 0) < 3",  # beyond bounds of one term: not looked through
        "ok is not true and not ok",
        "variant = 'short' or variant is null",
        "lower(city) = 'a' and upper(city) = 'A'",
        "price < 5 and price > 3 and city is null",
        "(user.tier is not null) <> true",  # of NULL
        "true",
        "price > viewed.price and price > paid.price and viewed.price < paid.price",
        "price >= viewed.price and price <= viewed.price",
        "price > viewed.price and viewed.price > 49 and price < 50",
        "price <> viewed.price and price in (5, 9) and viewed.price in (5, 9)",
        "price = viewed.price and price in (5, 9) and viewed.price in (9, 6)",
        "price not between viewed.price and paid.price and viewed.price > paid.price",
        "price > viewed.price * 2 and price < viewed.price",  # below 0
        "price > viewed.price or price < viewed.price",
        "coalesce(price, 0) > viewed.price and coalesce(price, 0) < viewed.price",  # not looked through
        "(price > viewed.price) is not true and (price < viewed.price) is not true",
    ],
)
def test_what_can_be_true_is_let_pass(text: str) -> None:
    assert told(text) == []


def test_a_branch_that_nothing_takes_is_told_apart() -> None:
    """Only of an `or` that somebody wrote: `not between` is one by itself."""
    assert told("city = 'A' or (price > 5 and price < 3)") == [("`price` would have to be above 5, and below 3", False)]
    assert told("price > 10 and (price < 5 or city = 'A')") == [
        ("`price` would have to be above 10, and below 5", False)
    ]
    assert told("price > 10 and not (price >= 5 and city = 'A')") == []
    assert told("price > viewed.price and (price < viewed.price or city = 'A')") == [
        ("it would have to be that `price` < `viewed.price` < `price`", False)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_told_to_be_never_true_is_true_of_no_row(seed: int) -> None:
    """On random conditions and rows, and on what contradicts itself by making: the condition and its opposite."""
    writer = Writer(Chance(seed))
    layouts: Any = {"event": EVENT, "steps": STEPS, "user": USER}
    args = [(row["event"], (row["viewed"],), row["user"], row["now"][0], None) for row in rows_of(seed)]
    found = 0
    for depth in [1, 1, 2, 2, 3, 4] * 50:
        first, second = (check(writer.condition(depth).ours, SCOPE) for _ in range(2))
        for parts in ([first], [first, second], [first, second, type(first)("", Not(second.node))]):
            if any(each.whole for each in never([part.node for part in parts])):
                found += 1
                holds = predicate(parts, **layouts)
                assert not any(holds(*arg) for arg in args), [part.text for part in parts]
    assert found > 20


@pytest.mark.parametrize("seed", range(4))
def test_comparisons_of_names_with_each_other_are_told_only_where_no_values_pass(seed: int) -> None:
    """On random comparisons of three names, and of them with constants: every choice of few values is tried."""
    random = Random(seed)
    names, values = ["price", "viewed.price", "paid.price"], [None, *(part / 4 for part in range(-3, 16))]
    layouts: Any = {"event": ["price"], "steps": {"viewed": ["price"], "paid": ["price"]}, "user": []}
    told = right = 0
    for _ in range(150):
        parts = []
        for _ in range(random.randint(2, 6)):
            first, second = random.sample(names, 2)
            other = second if random.random() < 0.6 else random.choice("0123")
            op = random.choice(["<", "<=", ">", ">=", "=", "<>"])
            parts.append(random.choice(["{}", "{}", "not ({})"]).format(f"{first} {op} {other}"))
            if random.random() < 0.2:
                parts[-1] = f"({parts[-1]} or {second} in (1, 3))"
        node = check(" and ".join(parts), NAMES)
        holds = predicate([node], **layouts)
        passes = any(holds((one,), ((two,), (three,)), (), 0, None) for one, two, three in product(values, repeat=3))
        found = any(each.whole for each in never([node.node]))
        told, right = told + found, right + (not passes)
        assert not (found and passes), node.text
    assert told > right * 0.9 > 10
