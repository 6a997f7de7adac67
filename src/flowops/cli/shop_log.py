"""The made-up shop of the starter project: customers, what they look at, what they buy.

The same on every machine: a seeded generator, of which only `random()` is used. Who is reminded comes back more often
than who is held out, as if the plan had been running when the log was written, so that the report has a lift to show.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import NamedTuple

from flowops.core.admission import HOLDOUT, arm_of
from flowops.core.plan import Experiment

CUSTOMERS = 900
DAYS = 4
_SEED = 20220420
_SHANGHAI = timezone(timedelta(hours=8))
_FIRST_DAY = datetime(2022, 4, 20, tzinfo=_SHANGHAI)
_EXPERIMENT = Experiment("cart-copy", 0.1, (("short", 0.5), ("long", 0.5)))  # as rules/unfinished-order.yaml has it
_COMES_BACK = {None: 0.05, "short": 0.1, "long": 0.15}  # within the hour after the reminder, by variant
_NAMES = ("Mei", "Wei", "Jun", "Lan", "Hao", "Yan", "Li", "Na", "Tao", "Xin")
_CITIES = ("Shanghai", "Beijing", "Hangzhou", "Chengdu")
_CATEGORIES = ("shoes", "bags", "hats", "books")


class Product(NamedTuple):
    """Something that the shop sells."""

    sku: str
    category: str
    price: int


class Happening(NamedTuple):
    """A line of the log to be: an order where `amount` is not None."""

    at: datetime
    user: str
    event: str
    product: Product
    amount: int | None = None


def write_shop_log(folder: Path) -> int:
    """Write web-DAY.jsonl.gz, orders.csv and customers.csv into `folder`; returns the number of events."""
    dice = Random(_SEED)  # noqa: S311 - a made-up shop, no secret
    products = [
        Product(f"{_CATEGORIES[n % 4].upper()}-{n:02}", _CATEGORIES[n % 4], 20 + int(dice.random() * 280))
        for n in range(40)
    ]
    users = [f"u{n:04}" for n in range(CUSTOMERS)]
    log = sorted(happening for user in users for happening in _visits(dice, user, products))
    for day in range(DAYS):
        begins = _FIRST_DAY + timedelta(days=day)
        today = [each for each in log if begins <= each.at < begins + timedelta(days=1)]
        _write_web(folder / f"web-{begins:%Y-%m-%d}.jsonl.gz", today)
    orders = [each for each in log if each.amount is not None]
    _write_csv(
        folder / "orders.csv",
        ("order_no", "customer", "sku", "amount", "bought_at"),
        ((f"o{n:05}", e.user, e.product.sku, e.amount, f"{e.at:%Y-%m-%d %H:%M:%S}") for n, e in enumerate(orders)),
    )
    _write_csv(
        folder / "customers.csv",
        ("id", "first_name", "city", "tier", "device_token"),
        (_customer(dice, user) for user in users),
    )
    return len(log)


def _visits(dice: Random, user: str, products: list[Product]) -> Iterator[Happening]:
    """What one customer does: looks at a few things, buys some at once, some after a reminder, most not at all."""
    arm, variant = arm_of(_EXPERIMENT, user)
    end = _FIRST_DAY + timedelta(days=DAYS)
    for day in range(DAYS):
        if dice.random() < 0.45:
            continue
        at = _FIRST_DAY + timedelta(days=day, minutes=540 + int(dice.random() * 720), seconds=int(dice.random() * 60))
        for _ in range(1 + int(dice.random() * 3)):
            product = products[int(dice.random() * len(products))]
            yield Happening(at, user, "product_view", product)
            buys, patience = dice.random(), dice.random()
            if buys < 0.2:
                yield Happening(at + timedelta(minutes=1), user, "add_to_cart", product)
                bought = at + timedelta(minutes=3 + int(patience * 50))
            elif buys > 1 - _COMES_BACK[None if arm == HOLDOUT else variant]:
                bought = at + timedelta(minutes=62 + int(patience * 55))
            else:
                bought = end
            if bought < end:
                yield Happening(bought, user, "order", product, product.price)
            at += timedelta(seconds=30 + int(dice.random() * 240))


def _customer(dice: Random, user: str) -> tuple[str, ...]:
    name = _NAMES[int(dice.random() * len(_NAMES))] if dice.random() < 0.8 else ""
    city = _CITIES[int(dice.random() * len(_CITIES))]
    tier = "gold" if dice.random() < 0.1 else "silver" if dice.random() < 0.3 else "basic"
    return user, name, city, tier, f"token-{user}" if dice.random() < 0.93 else ""


def _write_web(path: Path, happenings: list[Happening]) -> None:
    lines = []
    for number, each in enumerate(happenings):
        if each.amount is not None:
            continue
        line = {
            "id": f"{path.name[4:14]}-{number:05}",
            "uid": each.user,
            "type": each.event,
            "at": int(each.at.astimezone(UTC).timestamp() * 1000),
            "sku": each.product.sku,
        }
        if each.event == "product_view":
            line |= {"price": each.product.price, "category": each.product.category}
        lines.append(json.dumps(line) + "\n")
    path.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
