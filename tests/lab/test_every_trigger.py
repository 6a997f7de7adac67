"""Every kind of trigger and of audience, as an operator writes it: it lints, and a small log brings what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowops.core.effects import Decision
from flowops.core.shard import Shard
from flowops.core.time import isoformat, to_micros
from flowops.lab.logs import drive, partitions_of
from flowops.lab.machine import Machine
from flowops.rules.findings import render
from flowops.rules.load import load_project
from flowops.settings.fields import parse_moment

FLOWOPS = """\
flowops: 1
project: shop
zone: UTC
sources:
  web: {file: data/web.jsonl, since: 2021-01-01}
  crm: {kind: profiles, file: data/crm.jsonl, fields: {ts: ts}}
  groups: {kind: segments, file: data/groups.jsonl}
events:
  A: {properties: {sku: string, amount: money, departs_at: time}}
  B: {properties: {sku: string}}
  login:
  product_view: {properties: {sku: string}}
  add_to_cart: {properties: {sku: string}}
  share:
  favourite: {properties: {sku: string}}
  order: {properties: {amount: money}}
  complaint:
profile: {city: string, tier: string, birthday: date}
layers:
  cycle:
    event: order
    layers: {new: {recency: 1d}, active: {recency: 7d}, lost: {frequency: 1+}, never: {}}
  worth: {event: order, money: amount, within: 365d, figures: true, layers: {high: {money: 130+}, low: {}}}
channels: {push: {type: file, path: out/push.jsonl}}
"""

WEB = """\
u1 2022-04-21 10:00 A sku=x amount=200 departs_at=2022-04-25T12:00:00Z
u2 2022-04-21 10:00 product_view sku=S
u2 2022-04-21 10:10 add_to_cart sku=S
u2 2022-04-21 10:20 add_to_cart sku=S
u1 2022-04-21 10:30 B sku=x
u2 2022-04-21 10:30 share
u1 2022-04-21 12:00 A sku=y amount=200
u1 2022-04-22 10:00 A sku=z amount=200
u1 2022-04-22 11:30 login
u3 2022-04-22 12:00 order amount=60
u3 2022-04-22 13:00 order amount=70
u3 2022-04-22 14:00 login
"""

CRM = """\
u1 2022-04-20 00:00 profile tier=silver birthday=1990-04-26 city=Shanghai
u1 2022-04-21 15:00 profile tier=gold
u3 2022-04-23 00:00 profile tier=gold city=Beijing
"""

GROUPS = """\
u1 2022-04-20 12:00 staff action=leave
u1 2022-04-21 11:00 vip action=enter
u1 2022-04-22 08:00 vip action=leave
u3 2022-04-23 00:00 vip action=enter
"""

UNTIL = "2022-05-03 00:00"

NOONS = ["04-21 10:00", "04-21 12:00", "04-22 10:00"]
ALL_OF_U1 = ["04-21 10:00", "04-21 10:30", "04-21 12:00", "04-22 10:00", "04-22 11:30"]
ALL_OF_U3 = ["04-22 12:00", "04-22 13:00", "04-22 14:00"]
SEQUENCE = """\
sequence:
    - {event: product_view, as: viewed}
    - {without: order}
    - {event: add_to_cart, where: sku = viewed.sku, times: TIMES}
    - any: [share, {event: favourite, where: sku = viewed.sku}]
    - {without: order, within: 1h}
  within: 24h
  strict: false
  unfinished: false"""

TRIGGERS = {
    "event: A": NOONS,
    "event: A\n  where: sku = 'x'": NOONS[:1],
    "event: login\n  where: user.cycle = 'new' and user.worth = 'high'": ["04-22 14:00"],
    "event: any": sorted([*ALL_OF_U1, "04-21 10:00", "04-21 10:10", "04-21 10:20", "04-21 10:30", *ALL_OF_U3]),
    "event: login\n  delay: 10m": ["04-22 11:40", "04-22 14:10"],
    "event: login\n  delay: {until: 20:00, days: [sat]}": ["04-23 20:00", "04-23 20:00"],
    "event: A\n  delay: {until: departs_at, offset: -1d}": ["04-24 12:00"],
    "event: A\n  without: B\n  within: 1h": ["04-21 13:00", "04-22 11:00"],
    "event: A\n  times: 3\n  within: 7d": ["04-22 10:00"],
    "event: A\n  times: 3\n  within: ever": ["04-22 10:00"],
    "event: A\n  distinct: sku\n  times: 3\n  within: 7d": ["04-22 10:00"],
    "event: A\n  sum: amount\n  reaches: 500\n  within: 30d": ["04-22 10:00"],
    "event: A\n  sum: amount\n  reaches: 300\n  within: 30d\n  repeat: always": NOONS[1:],
    SEQUENCE.replace("TIMES", "2"): ["04-21 11:30"],
    SEQUENCE.replace("TIMES", "2+"): ["04-21 11:30"],
    SEQUENCE.replace("TIMES", "2..5"): ["04-21 11:30"],
    SEQUENCE.replace("TIMES", "0..3"): ["04-21 11:30"],
    SEQUENCE.replace("TIMES", "3"): [],
    SEQUENCE.replace("TIMES", "3")
    .replace("    - {without: order, within: 1h}\n", "")
    .replace("unfinished: false", "unfinished: true"): ["04-22 10:00"],
    SEQUENCE.replace("TIMES", "2").replace("strict: false", "strict: true"): ["04-21 11:30"],
    "sequence: [A, {any: [{enters: vip}, {attribute: tier, to: gold}]}, {event: A, as: again}]\n  within: 24h": [
        "04-21 12:00"
    ],
    "sequence: [A, {all: [B, {enters: vip}]}]\n  within: 2h": ["04-21 11:00"],
    "sequence: [A, {event: B, within: 20m}]\n  within: 1d": [],
    "sequence: [{event: A, times: 3}]\n  within: 7d": ["04-22 10:00"],
    "all: [A, {event: B, where: sku = 'x'}]\n  within: 1d": ["04-21 10:30"],
    "any: [A, {event: B, where: sku = 'x'}]": ALL_OF_U1[:4],
    "inactive_for: 7d": ["04-28 10:30", "04-29 11:30", "04-29 14:00"],
    "inactive_for: 7d\n  event: login": ["04-29 11:30", "04-29 14:00"],
    "schedule: {once: 2022-05-01 10:00}": ["05-01 10:00", "05-01 10:00"],
    "schedule: {daily: 09:00}": [
        *("04-20 09:00", "04-21 09:00", "04-22 09:00"),
        *sorted([*(f"04-{day} 09:00" for day in range(23, 31)), "05-01 09:00", "05-02 09:00"] * 2),
    ],
    "schedule: {weekly: [mon, thu], at: 09:00}": [
        "04-21 09:00",
        *sorted(["04-25 09:00", "04-28 09:00", "05-02 09:00"] * 2),
    ],
    "schedule: {monthly: [1, last], at: 09:00}": sorted(["04-30 09:00", "05-01 09:00"] * 2),
    'schedule: {cron: "0 9 * * 1-5"}': [
        *("04-20 09:00", "04-21 09:00", "04-22 09:00"),
        *sorted([*(f"04-{day} 09:00" for day in range(25, 30)), "05-02 09:00"] * 2),
    ],
    "enters: vip": ["04-21 11:00", "04-23 00:00"],
    "leaves: vip": ["04-22 08:00"],
    "attribute: tier\n  from: silver\n  to: gold": ["04-21 15:00"],
    "date_of: birthday\n  yearly: true\n  offset: -3d\n  at: 09:00": ["04-23 09:00"],
}

AUDIENCE = """\
where: user.city = 'Beijing' and user.tier in ('gold', 'silver')
  segments: [vip]
  not_segments: [staff]
  did: {event: order, where: amount > 50, times: 2+, within: 30d}
  did_not: {event: complaint, within: 90d}"""

AUDIENCES = {
    AUDIENCE: ["u3"],
    AUDIENCE.replace("times: 2+", "times: 3+"): [],
    AUDIENCE.replace("within: 30d", "between: [2022-04-01, 2022-04-22]"): ["u3"],
    AUDIENCE.replace("within: 30d", "between: [2022-01-01, 2022-02-01]"): [],
    "any:\n    - where: user.city = 'Shanghai'\n    - {did: [order, {event: login, times: 1}]}": ["u1", "u3"],
    "did: {event: order, sum: amount, reaches: 130}": ["u3"],
    "did: {event: A, distinct: sku, times: 0..3, within: 30d}": ["u1", "u3"],
    "did_not: order": ["u1"],
    "where: user.cycle = 'active' and user.worth = 'high'": ["u3"],
    "where: user.cycle in ('never', 'lost')": ["u1"],
    "where: user.cycle = 'new'": [],
}


def lines(text: str) -> str:
    """`u1 2022-04-21 10:00 A sku=x` as a line of JSON."""
    found = []
    for line in text.splitlines():
        user, day, time, what, *rest = line.split()
        said: dict[str, object] = dict(each.split("=") for each in rest)
        if "amount" in said:
            said["amount"] = float(str(said["amount"]))
        found.append(json.dumps({"user_id": user, "ts": f"{day}T{time}:00Z", "event": what, "segment": what} | said))
    return "\n".join([*found, ""])


def run(folder: Path, plans: dict[str, str]) -> list[Decision]:
    for place in ("data", "rules"):
        (folder / place).mkdir()
    (folder / "flowops.yaml").write_text(FLOWOPS, encoding="utf-8")
    for name, text in (("web", WEB), ("crm", CRM), ("groups", GROUPS)):
        (folder / "data" / f"{name}.jsonl").write_text(lines(text), encoding="utf-8")
    for name, text in plans.items():
        send = "send: {channel: push, content: {body: '{{ user.worth }}'}}"
        (folder / "rules" / f"{name}.yaml").write_text(f"plan: {name}\n{text}\n{send}\n", encoding="utf-8")
    loaded = load_project(folder)
    assert [each for each in loaded.findings if each.severity == "error"] == [], render(loaded.findings)
    assert loaded.project is not None
    sources, names = partitions_of(folder, loaded.project.sources)
    machine = Machine(loaded.project, sources, names, Shard)
    machine.until(to_micros(parse_moment(f"{UNTIL}+00:00").at))
    found: list[Decision] = []
    drive(folder, machine, on_effects=lambda all_effects: found.extend(d for e in all_effects for d in e.decisions))
    return found


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Decision]]:
    """What was decided by each plan: `tN` with the Nth trigger, `aN` with the Nth audience."""
    plans = {f"t{number}": f"trigger:\n  {trigger}" for number, trigger in enumerate(TRIGGERS)}
    at = "trigger: {schedule: {once: 2022-04-24 10:00}}"
    plans |= {f"a{number}": f"audience:\n  {text}\n{at}" for number, text in enumerate(AUDIENCES)}
    found: dict[str, list[Decision]] = {name: [] for name in plans}
    for decision in run(tmp_path_factory.mktemp("shop"), plans):
        found[decision.plan].append(decision)
    return found


@pytest.mark.parametrize("number", range(len(TRIGGERS)), ids=lambda number: list(TRIGGERS)[number].replace("\n", ","))
def test_a_trigger_brings_what_it_says(decided: dict[str, list[Decision]], number: int) -> None:
    came = sorted(isoformat(each.decided_at)[5:16].replace("T", " ") for each in decided[f"t{number}"])
    assert came == list(TRIGGERS.values())[number]


@pytest.mark.parametrize("number", range(len(AUDIENCES)), ids=lambda number: list(AUDIENCES)[number].replace("\n", ","))
def test_an_audience_is_who_it_says(decided: dict[str, list[Decision]], number: int) -> None:
    assert sorted(each.user_id for each in decided[f"a{number}"]) == list(AUDIENCES.values())[number]


def test_texts_and_what_is_landed_say_the_layer(decided: dict[str, list[Decision]]) -> None:
    """S12b: at 13:00 the second order made u3 worth more."""
    found = [each for those in decided.values() for each in those]
    assert {json.loads(each.content or "{}").get("body") == each.layer for each in found} == {True}
    grown = [(isoformat(each.decided_at)[11:16], each.layer) for each in decided["t3"] if each.user_id == "u3"]
    assert grown == [("12:00", "low"), ("13:00", "high"), ("14:00", "high")]
