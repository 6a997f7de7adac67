"""Diagrams show what was compiled, one drawing for each kind of trigger, and Mermaid reads them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from bad_examples import unfold
from typer.testing import CliRunner

from flowops.cli.main import app
from flowops.core import plan as core
from flowops.rules.diagram import TRIGGERS, diagram, label
from flowops.rules.findings import render
from flowops.rules.load import load_project
from servers.fetch import Missing, mermaid

ROOT = Path(__file__).parents[2]
# ruff: noqa: E501 - plans and charts as they are

PROJECT = """\
### flowops.yaml
flowops: 1
project: shop
zone: Asia/Shanghai
sources:
  web: {file: data/web.csv, fields: {user_id: uid, event: type}}
  crm: {kind: profiles, file: data/customers.csv, fields: {user_id: id}}
  vip: {kind: segments, segment: vip, file: data/customers.csv, fields: {user_id: id}}
events:
  view: {properties: {sku: string, price: money, category: string}}
  order: {properties: {sku: string, amount: money, at: time}}
  share: {properties: {sku: string}}
profile: {first_name: string, tier: string, birthday: date, token: string, sms_ok: boolean}
channels:
  push: {type: file, path: out/push.jsonl, address: token, consent: {opt_in: sms_ok}}
  app: {type: console}
### data/web.csv
uid,type,ts,sku,price,category,amount,at
### rules/reminder.yaml
"""

KINDS = {
    "{event: view, where: price > 5, key: sku, delay: 10m}": """\
n1(["view<br/>price #gt; 5"])
n2["each sku on its own"]
n1 --> n2
n3{{"wait 10m"}}
n2 --> n3
n4[/"app"/]
n3 --> n4
""",
    "{event: view, without: [{event: order, where: sku = view.sku}, share], within: 1h, key: sku, repeat: restart}": """\
n1(["view"])
n2{{"wait 1h<br/>each sku on its own<br/>a further one begins anew"}}
n1 --> n2
n3(["the wait ends, nothing is sent"]):::lost
n2 -.->|"order<br/>sku = view.sku"| n3
n2 -.->|"share"| n3
n4[/"app"/]
n2 --> n4
""",
    "{event: order, times: 3, within: 7d, delay: {until: 20:00, days: [sat, sun]}}": """\
n1(["order"])
n2{{"3 times within 7d<br/>again when it has been below"}}
n1 --> n2
n3{{"wait until 20:00 on sat, sun"}}
n2 --> n3
n4[/"app"/]
n3 --> n4
""",
    "{event: order, distinct: sku, times: 2, within: ever, repeat: always}": """\
n1(["order"])
n2{{"2 different sku ever<br/>on each event at which it holds"}}
n1 --> n2
n3[/"app"/]
n2 --> n3
""",
    "{event: order, where: sku <> 'A', sum: amount, reaches: 500, within: 30d}": """\
n1(["order<br/>sku #lt;#gt; 'A'"])
n2{{"the sum of amount reaches 500 within 30d<br/>again when it has been below"}}
n1 --> n2
n3[/"app"/]
n2 --> n3
""",
    "{inactive_for: 7d, event: order}": """\
n1(["order"])
n2{{"none for 7d since the last"}}
n1 --> n2
n2 -.->|"one comes"| n1
n3[/"app"/]
n2 --> n3
""",
    "{any: [share, {event: order, where: amount > 5}, {enters: vip}]}": """\
n1(["share"])
n2(["order<br/>amount #gt; 5"])
n3(["enters vip"])
n4["whichever happens"]
n1 --> n4
n2 --> n4
n3 --> n4
n5[/"app"/]
n4 --> n5
""",
    "{all: [share, order], within: 1d}": """\
n1(["share"])
n2(["order"])
n3{{"all 2 within 1d, in any order"}}
n1 --> n3
n2 --> n3
n4[/"app"/]
n3 --> n4
""",
    "{sequence: [{event: view, where: price > 5, times: 2+}, {without: share}, {any: [share, order], within: 30m}, {without: {event: view, where: sku = order.sku}, within: 1h}], within: 1d, key: sku}": """\
n1(["view<br/>price #gt; 5<br/>2 or more times"])
n2{{"within 1d of the first<br/>each sku on its own<br/>further ones are ignored"}}
n1 --> n2
n3(["the sequence ends"]):::lost
n2 -.->|"share"| n3
n4(["share<br/>or order<br/>within 30m of the step before"])
n2 --> n4
n4 -.->|"view none for 1h<br/>sku = order.sku"| n3
n5{{"none for 1h"}}
n4 --> n5
n6[/"app"/]
n5 --> n6
""",
    "{sequence: [view, {all: [share, order]}, {event: view, as: again, times: 1..2}], within: 1d, unfinished: true, strict: true, repeat: restart}": """\
n1(["view"])
n2{{"within 1d of the first<br/>no other event between<br/>a further one begins anew"}}
n1 --> n2
n3(["share<br/>and order"])
n2 --> n3
n4(["view<br/>1 to 2 times"])
n3 --> n4
n5(["completed, nothing is sent"]):::lost
n4 -.-> n5
n6{{"not completed within 1d"}}
n1 --> n6
n7[/"app"/]
n6 --> n7
""",
    "{attribute: tier, from: silver, to: gold}": """\
n1(["tier changes from silver to gold"])
n2[/"app"/]
n1 --> n2
""",
    "{schedule: {weekly: [mon, thu], at: 9:30}}": """\
n1(["weekly mon, thu 09:30"])
n2{"everyone with a profile or a segment?"}
n1 --> n2
n3(["not_in_audience"]):::lost
n2 -.->|"no"| n3
n4[/"app"/]
n2 -->|"yes"| n4
""",
    "{schedule: {monthly: [1, last], at: 9:30}}": """\
n1(["monthly 1, last 09:30"])
n2{"everyone with a profile or a segment?"}
n1 --> n2
n3(["not_in_audience"]):::lost
n2 -.->|"no"| n3
n4[/"app"/]
n2 -->|"yes"| n4
""",
    "{date_of: birthday, yearly: true, offset: -3d, at: 09:00}": """\
n1(["3d before birthday, every year<br/>at 09:00"])
n2[/"app"/]
n1 --> n2
""",
    "{event: order, delay: {until: at, offset: -1d}}": """\
n1(["order"])
n2{{"wait until 1d before at"}}
n1 --> n2
n3[/"app"/]
n2 --> n3
""",
}

WHOLE = """\
plan: reminder
dates: {from: 2022-04-20, to: 2022-04-30}
audience: {any: [{where: user.tier = 'gold', not_segments: vip}, {segments: [vip]}]}
trigger: {event: view}
reentry: 7d
caps: [{at_most: 1, per: 24h}, {at_most: 2, per: ever, scope: {channel: app}}]
quiet: {outside: {days: [mon], from: 09:00, to: 18:00}, then: drop}
experiment: {name: copy, holdout: 10%, variants: {a: 50%, b: 50%}}
send: {channel: push, content: {body: Hi}}
goals:
  - {goal: ordered, event: order, where: amount >= 50, within: 1h, target: 15%}
"""
DRAWN = """\
n1(["view"])
n2{"from 2022-04-20 00:00 before 2022-05-01 00:00?"}
n1 --> n2
n3(["plan_ended"]):::lost
n2 -.->|"no"| n3
n4{"(user.tier = 'gold', not in vip) or (in vip)?"}
n2 -->|"yes"| n4
n5(["not_in_audience"]):::lost
n4 -.->|"no"| n5
n6{"7d since the last time?"}
n4 -->|"yes"| n6
n7(["reentry"]):::lost
n6 -.->|"no"| n7
n8{"sms_ok is true?"}
n6 -->|"yes"| n8
n9(["no_consent"]):::lost
n8 -.->|"no"| n9
n10{"has token?"}
n8 -->|"yes"| n10
n11(["no_address"]):::lost
n10 -.->|"no"| n11
n12{"not quiet: outside 09:00 to 18:00 on mon?"}
n10 -->|"yes"| n12
n13(["quiet_hours"]):::lost
n12 -.->|"no"| n13
n14{"fewer than 1 per 24h (plan)?"}
n12 -->|"yes"| n14
n15(["frequency_cap"]):::lost
n14 -.->|"no"| n15
n16{"experiment copy"}
n14 -->|"yes"| n16
n17(["holdout"]):::lost
n16 -.->|"10%"| n17
n18[/"push: a"/]
n16 -->|"45%"| n18
n19[/"push: b"/]
n16 -->|"45%"| n19
n20[["goal ordered<br/>order<br/>amount #gt;= 50<br/>target 15%"]]
n18 -->|"within 1h"| n20
n19 -->|"within 1h"| n20
"""


def drawn(folder: Path, plan: str) -> str:
    example = folder / "example"
    example.write_text(PROJECT + plan, encoding="utf-8")
    loaded = load_project(unfold(example, folder / "shop"))
    assert loaded.project is not None, render(loaded.findings)
    return diagram(loaded.project, loaded.project.plans[0])


def body(text: str) -> str:
    head, chart, *lines = text.splitlines()
    assert head.startswith("%% reminder, version ")
    assert (chart, lines[-1]) == ("flowchart TD", "    classDef lost stroke-dasharray: 3 3")
    return "".join(f"{line.strip()}\n" for line in lines[:-1])


def plan_with(trigger: str) -> str:
    return f"plan: reminder\ntrigger: {trigger}\nsend: {{channel: app, content: {{body: Hi}}}}\n"


@pytest.mark.parametrize(("trigger", "expected"), KINDS.items(), ids=lambda text: text[:60])
def test_each_kind_of_trigger_has_its_drawing(trigger: str, expected: str, tmp_path: Path) -> None:
    assert body(drawn(tmp_path, plan_with(trigger))) == expected


def test_no_kind_is_without() -> None:
    assert set(TRIGGERS) == set(get_args(core.Trigger))


def test_the_checks_stand_in_the_order_of_the_decision(tmp_path: Path) -> None:
    """With the loss that each is counted as, the shares of all users, and only the caps that bind the channel."""
    assert body(drawn(tmp_path, WHOLE)) == DRAWN


def test_texts_cannot_break_out() -> None:
    assert label('a"]; b["<b>`#') == "a#quot;]; b[#quot;#lt;b#gt;#96;#35;"


NASTY = r"""sku in ('a"]', '`x`', '%% no comment', 'end', '#35;', '<script>', '-->|x|', '{{a}}', '最', 'a\n')"""


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where Mermaid is; the test is skipped where Node or it is missing: `make servers` fetches it where npm is."""
    try:
        return mermaid() / "node_modules"
    except Missing as missing:
        pytest.skip(str(missing))


def test_mermaid_reads_every_diagram(node_modules: Path, tmp_path: Path) -> None:
    plans = [*map(plan_with, KINDS), WHOLE, f"plan: reminder\ntrigger:\n  event: view\n  where: >\n    {NASTY}\n"]
    plans[-1] += "send: {channel: app, content: {body: Hi}}\n"
    files = []
    for number, plan in enumerate(plans):
        (tmp_path / str(number)).mkdir()
        files.append(tmp_path / f"{number}.mmd")
        files[-1].write_text(drawn(tmp_path / str(number), plan), encoding="utf-8")
    broken = tmp_path / "broken.mmd"
    broken.write_text('flowchart TD\n    n1["a"]\n    n1 --> [\n', encoding="utf-8")
    command = ["node", str(Path(__file__).with_name("mermaid.mjs")), str(node_modules)]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count("flowchart-v2") == len(files)
    assert subprocess.run([*command, str(broken)], capture_output=True, check=False).returncode == 1


def test_graph_prints_a_plan_of_the_demo() -> None:
    run = CliRunner().invoke
    text = run(app, ["graph", "win-back", "--project", str(ROOT)]).stdout
    assert text.startswith("%% win-back, version ")
    answer = json.loads(run(app, ["graph", "win-back", "--json", "--project", str(ROOT)]).stdout)
    assert (answer["plan"], answer["mermaid"]) == ("win-back", text)
    wrong = run(app, ["graph", "win-bak", "--project", str(ROOT)])
    assert "did you mean `win-back`?" in str(wrong.exception)
