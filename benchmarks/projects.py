"""The jobs of the benchmarks as flowops projects: what an operator would write for J1, J1s, J2, J3 and J100.

J1 is 'view without an order in 1 h'; J1s the same for one category in 24, as real plans are; J2 is J1 with caps and a
goal; J3 is a sequence of three steps, each with a filter, two of which compare with the step before; J100 is a hundred
plans, each for one category and from one price on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

CATEGORY = "c5"
"""The category of J1s."""

PLANS = [(f"c{number % 24}", (140, 160, 175, 190, 195)[number // 24]) for number in range(100)]
"""J100: category and least price of each plan; so chosen that about as many events end in a dispatch as in J1."""

PROJECT = """\
flowops: 1
project: bench-{job}
zone: UTC
currency: EUR

sources:
  web:
    file: data/*.jsonl
    fields: {{ts: {{path: ts, unit: ms}}}}
    out_of_orderness: 5s

events:
  product_view: {{properties: {{sku: string, category: string, price: money}}}}
  order: {{properties: {{sku: string, amount: money}}}}
  add_to_cart: {{properties: {{sku: string, price: money}}}}

channels:
  push: {{type: file, path: out/push.jsonl, receipts: assumed}}
"""

PLAN = """\
plan: {name}
trigger:
  event: product_view
{where}  without: order
  within: {within}
{more}send:
  channel: push
  content: {{title: Still thinking?, body: "{{{{ product_view.sku }}}} is waiting."}}
"""

RICH = """\
plan: {name}
name: Reminder of an unfinished order, {name}
group: {group}
owner: growth
tags: [cart, {group}]
dates: {{from: 2022-04-20, to: 2022-06-30}}
trigger:
  event: product_view
  where: price >= {price} and category in ('{category}', 'c0') and lower(sku) like 'sku%'
  without: {{event: order, where: sku = product_view.sku}}
  within: 1h
  key: sku
reentry: 7d
caps:
  - {{at_most: 1, per: 24h}}
  - {{at_most: 1, per: calendar week, scope: {{group: {group}}}}}
quiet: {{from: 22:00, to: 08:00, then: hold}}
experiment: {{holdout: 10%, variants: {{short: 50%, long: 50%}}}}
send:
  channel: push
  content:
    variants:
      short: {{title: Still thinking?, body: "{{{{ product_view.sku }}}} is waiting."}}
      long:
        title: Still thinking about it?
        body: "{{{{ product_view.category | default: 'shoes' | upcase }}}}: 10 % off {{{{ product_view.sku }}}} today."
goals:
  - {{goal: ordered, event: order, where: amount between 50 and 5000, within: 1h, value: amount, target: 15%}}
"""
"""What lint has to read of one plan: all that a plan may say, no two alike."""

SEQUENCE = """\
plan: bargain
trigger:
  sequence:
    - {event: product_view, where: price >= 50}
    - {event: add_to_cart, where: price <= product_view.price}
    - {event: order, where: amount >= add_to_cart.price}
  within: 12h
send:
  channel: push
  content: {title: A bargain, body: "{{ order.sku }} is on its way."}
"""

CAPS = "caps: [{at_most: 1, per: 24h}, {at_most: 2, per: 7d}]\n"
GOAL = "goals: [{goal: ordered, event: order, within: 1h}]\n"


def plan(name: str, *, where: str = "", within: str = "1h", repeat: str = "", more: str = "") -> str:
    """One plan's YAML; `more` stands between the trigger and what it sends."""
    condition = f"  where: {where}\n" if where else ""
    if repeat:
        more = f"  repeat: {repeat}\n{more}"
    return PLAN.format(name=name, where=condition, within=within, more=more)


def plans(job: str) -> dict[str, str]:
    """The plans of a job, by name.

    Beside the five of the benchmark: `touched`, a wait that each view restarts; `day`, whose state is full after one
    day of events: J1 with a message a day and a goal; `lint`, a thousand plans to be read and checked.
    """
    if job == "J1":
        return {"unfinished-order": plan("unfinished-order")}
    if job == "J1s":
        return {"unfinished-order": plan("unfinished-order", where=f"category = '{CATEGORY}'")}
    if job == "J2":
        return {"unfinished-order": plan("unfinished-order", more=CAPS + GOAL)}
    if job == "day":
        return {"unfinished-order": plan("unfinished-order", more="caps: [{at_most: 1, per: 24h}]\n" + GOAL)}
    if job == "J3":
        return {"bargain": SEQUENCE}
    if job == "J100":
        return {
            f"plan-{number:03d}": plan(f"plan-{number:03d}", where=f"category = '{category}' and price >= {price}")
            for number, (category, price) in enumerate(PLANS)
        }
    if job == "touched":
        return {"unfinished-order": plan("unfinished-order", within="6h", repeat="restart")}
    if job == "lint":
        return {
            f"plan-{number:04d}": RICH.format(
                name=f"plan-{number:04d}", group=f"g{number % 20}", price=number % 200, category=f"c{number}"
            )
            for number in range(1_000)
        }
    raise ValueError(f"no job {job!r}")


def write_project(folder: Path, job: str, files: list[Path]) -> Path:
    """Write the project of a job over the given log files, in place of whatever the folder held."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "rules").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "flowops.yaml").write_text(PROJECT.format(job=job.lower()), encoding="utf-8")
    for name, text in plans(job).items():
        (folder / "rules" / f"{name}.yaml").write_text(text, encoding="utf-8")
    for file in files:
        (folder / "data" / file.name).symlink_to(file.resolve())
    return folder
