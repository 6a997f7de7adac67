"""Journeys in the tools: what tests, stories, previews, diagrams and backtests say of the steps of a plan (S30)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from project import flowops

from flowops.core import plan as core
from flowops.core.time import DAY, HOUR, MINUTE
from flowops.lab.verdicts import run_tests
from flowops.rules.check_test import read_tests
from flowops.rules.diagram import diagram
from flowops.rules.findings import render
from flowops.rules.load import load_project

PROJECT = """\
flowops: 1
project: shop
zone: UTC
sources:
  web: {file: data/web.jsonl}
  crm: {kind: profiles, file: data/crm.jsonl}
  back: {kind: receipts, file: data/back.jsonl}
events:
  view: {properties: {sku: string}}
  order: {properties: {sku: string}}
profile: {tier: string}
channels:
  app: {type: file, path: out/app.jsonl, receipts: {undelivered_after: 1h}, cost: 0.5}
  sms: {type: file, path: out/sms.jsonl, cost: 2}
"""
NURTURE = """\
plan: nurture
trigger: {event: view}
send:
  - step: opener
    first: [app, {channel: sms, where: "user.tier = 'gold'"}]
    fallback_after: 30m
    content: {app: {body: "{{ view.sku }}"}, sms: {body: C}}
  - step: reminder
    after: 1d
    when: not opener.clicked and user.tier = 'gold'
    channel: app
    content: {body: D}
  - until: {event: order, where: sku = view.sku}
    at_most: 2d
    when: timed_out
    then: [{step: last, channel: sms, content: {body: L}}]
    else: [{after: {until: 20:00}, step: thanks, each: [app, sms], content: {app: {body: T}, sms: {body: T}}}]
exit: {touches: 3}
"""
CASES = """\
test: nurture
profiles: {u1: {tier: gold}, u2: {tier: silver}}
cases:
  - name: silent
    events:
      - {at: 2022-04-21 10:00, user: u1, event: view, sku: A}
    until: +5d
    expect:
      dispatches:
        - {at: 2022-04-21 10:00, step: opener, channel: app}
        - {at: 2022-04-21 10:30, step: opener, channel: sms}
        - {at: 2022-04-22 10:00, step: reminder, channel: app}
        - {at: 2022-04-24 10:00, step: last, channel: sms}
      losses: [{step: opener, loss: undelivered}, {step: reminder, channel: app, loss: undelivered}]
  - name: clicks late, and buys
    events:
      - {at: 2022-04-21 10:00, user: u2, event: view, sku: A}
      - {at: +25h, user: u2, receipt: clicked, of: opener}
      - {at: +1h, user: u2, event: order, sku: A}
    until: +5d
    expect:
      dispatches:
        - {at: 2022-04-21 10:00, step: opener, channel: app}
        - {at: 2022-04-22 20:00, step: thanks, channel: app}
        - {at: 2022-04-22 20:00, step: thanks, channel: sms}
      goals: [{goal: clicked, user: u2}]
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    texts = {"flowops.yaml": PROJECT, "rules/nurture.yaml": NURTURE, "rules/nurture.test.yaml": CASES}
    texts["data/crm.jsonl"] = texts["data/back.jsonl"] = ""
    views = [{"user_id": f"u{n}", "event": "view", "event_id": f"e{n}", "ts": "2022-04-21T10:00:00Z"} for n in range(4)]
    texts["data/web.jsonl"] = "".join(json.dumps(view | {"sku": "A"}) + "\n" for view in views)
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_list_of_steps_becomes_a_table_of_nodes(shop: Path) -> None:
    """Each node leads only forward; a step that is left out is passed by its branch."""
    loaded = load_project(shop)
    assert loaded.project is not None, render(loaded.findings)
    journey = loaded.project.plans[0].journey
    assert journey is not None
    kinds = [type(node).__name__ for node in journey.nodes]
    assert kinds == ["Sends", "Pause", "Branch", "Sends", "Pause", "Branch", "Pause", "Sends", "Sends"]
    assert [step.name for step in journey.steps] == ["opener", "reminder", "thanks", "last"]
    assert [step.number for step in journey.steps] == [0, 1, 2, 3]
    opener, day, asked, *_ = journey.nodes
    assert isinstance(opener, core.Sends)
    assert isinstance(day, core.Pause)
    assert isinstance(asked, core.Branch)
    assert (opener.fallback_after, day.delay, asked.otherwise) == (30 * MINUTE, DAY, 4)
    for number, node in enumerate(journey.nodes):
        ways = (node.then, node.otherwise) if isinstance(node, core.Branch) else (node.next,)
        assert all(way == core.END or way > number for way in ways)
    assert [(step.name, step.channel.name, step.group) for step in journey.messages[:3]] == [
        ("opener", "app", "opener"),
        ("opener", "sms", "opener"),
        ("reminder", "app", ""),
    ]
    assert journey.touches == 3
    resumes = [each for each in loaded.project.listeners if isinstance(each, core.Resume)]
    assert [each.part for each in resumes] == [4]


def test_one_message_and_nothing_before_it_has_no_table(shop: Path) -> None:
    """Whichever way it is written: its path is the plain one."""
    for send in ("{channel: app, content: {body: A}}", "[{step: only, first: [app], content: {app: {body: A}}}]"):
        (shop / "rules" / "nurture.yaml").write_text(f"plan: nurture\ntrigger: {{event: view}}\nsend: {send}\n")
        loaded = load_project(shop)
        assert loaded.project is not None, render(loaded.findings)
        assert loaded.project.plans[0].journey is None


def test_a_policy_is_the_list_with_the_plans_content(shop: Path) -> None:
    """And another version of the plan where the policy is another."""
    (shop / "rules" / "policies").mkdir()
    gentle = shop / "rules" / "policies" / "gentle.yaml"
    content = "{a: {body: A}, b: {app: {body: B}, sms: {body: C}}}"
    plan = f"plan: nurture\ntrigger: {{event: view}}\nsend: {{policy: gentle, content: {content}}}\n"
    (shop / "rules" / "nurture.yaml").write_text(plan)
    versions = set()
    for wait in ("1h", "2h"):
        gentle.write_text(
            f"- {{step: a, channel: app}}\n- {{step: b, after: {wait}, when: not a.clicked, each: [app, sms]}}\n"
        )
        loaded = load_project(shop)
        assert loaded.project is not None, render(loaded.findings)
        (found,) = loaded.project.plans
        assert [(step.name, step.channel.name) for step in found.messages] == [("a", "app"), ("b", "app"), ("b", "sms")]
        versions.add(found.version)
    assert len(versions) == 2
    pauses = [node for node in found.journey.nodes if isinstance(node, core.Pause)] if found.journey else []
    assert [pause.delay for pause in pauses] == [2 * HOUR]


def test_tests_tell_steps_and_channels_apart(shop: Path) -> None:
    tests = read_tests(load_project(shop))
    assert tests.findings == [], render(tests.findings)
    report = run_tests(load_project(shop), tests.checked)
    assert len(report.verdicts) == 2
    assert [verdict.differences for verdict in report.failed] == []


def test_a_story_tells_waits_and_conditions_with_what_they_saw(shop: Path) -> None:
    done = flowops("test", "--project", shop, "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "the step opener on app is decided, triggered 2022-04-21 10:00",
        "waits until 2022-04-22 10:00 before the next step",
        "asks for opener on sms: yes (user.tier is gold)",
        "asks whether not opener.clicked and user.tier = 'gold': yes (opener.clicked is false, user.tier is gold)",
        "asks whether timed_out: no (timed_out is false)",
        "the message of opener on app counts as undelivered",
    ):
        assert line in done.stdout, line


def test_a_preview_shows_each_message_of_each_step(shop: Path) -> None:
    done = flowops("preview", "nurture", "--project", shop, "--json")
    found = json.loads(done.stdout)
    shown = [(each["step"], each["channel"], each["messages"][0]["content"]["body"]) for each in found["steps"]]
    assert shown[1:] == [
        ("opener", "sms", "C"),
        ("reminder", "app", "D"),
        ("last", "sms", "L"),
        ("thanks", "app", "T"),
        ("thanks", "sms", "T"),
    ]


def test_a_backtest_counts_by_step_and_channel(shop: Path) -> None:
    """Under assumed delivery nothing falls back, and nothing is clicked; nobody's tier is known."""
    done = flowops("backtest", "nurture", "--until", "2022-04-25", "--json", "--project", shop)
    (result,) = json.loads(done.stdout)["results"]
    assert (result["triggered"], result["dispatched"], result["cost"]) == (4, 8, 4 * 0.5 + 4 * 2)
    assert [(each["step"], each["channel"], each["dispatched"]) for each in result["steps"]] == [
        ("opener", "app", 4),
        ("opener", "sms", 0),
        ("reminder", "app", 0),
        ("last", "sms", 4),
        ("thanks", "app", 0),
        ("thanks", "sms", 0),
    ]


def test_a_diagram_draws_each_node_once(shop: Path) -> None:
    project = load_project(shop).project
    assert project is not None
    text = diagram(project, project.plans[0])
    for part in ("step opener", "wait 1d", "not opener.clicked", "wait for order", "at most 2d", "wait until 20:00"):
        assert text.count(part) == 1, part
    assert "nothing heard in 30m" in text
    assert text.count('|"yes"|') == text.count('|"no"|') == 2


def test_a_held_message_that_is_for_others_by_then_is_told_as_such(tmp_path: Path) -> None:
    """S22, S30."""
    night = "plan: night\ntrigger: {event: view}\nquiet: {from: 22:00, to: 08:00, then: hold}\nsend:\n"
    step = (
        "  - first: [{channel: app, where: user.tier = 'gold'}, sms]\n    content: {app: {body: A}, sms: {body: B}}\n"
    )
    for name, text in {"flowops.yaml": PROJECT, "rules/night.yaml": night + step, "data/back.jsonl": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    rows = {
        "web": [{"event": "view", "event_id": "e", "sku": "A", "ts": "2022-04-21T23:00:00Z"}],
        "crm": [{"tier": tier, "ts": f"2022-04-2{day}T01:00:00Z"} for tier, day in (("gold", 1), ("silver", 2))],
    }
    for name, lines in rows.items():
        text = "".join(json.dumps(line | {"user_id": "u1"}) + "\n" for line in lines)
        (tmp_path / "data" / f"{name}.jsonl").write_text(text)
    (tmp_path / "flowops.yaml").write_text(PROJECT.replace("data/crm.jsonl}", "data/crm.jsonl, fields: {ts: ts}}"))
    said = flowops("explain", "--user", "u1", "--plan", "night", "--until", "2022-04-22 09:00", "--project", tmp_path)
    assert "fails  not_in_audience  app is for others\n    lost: not_in_audience\n" in said.stdout
    assert "sent on sms" in said.stdout
