"""`flowops test`: the language of tests, on the production core; what a failure says."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from project import command, flowops, refused

from flowops.cli.init import command as init
from flowops.lab.verdicts import run_tests
from flowops.rules.check_test import read_tests
from flowops.rules.findings import render
from flowops.rules.load import load_project

ROOT = Path(__file__).parents[2]

PROJECT = """\
flowops: 1
project: shop
zone: Asia/Shanghai
sources:
  web: {file: data/web.jsonl}
  tills: {file: data/tills.jsonl, event: sale}
  lists: {kind: segments, file: data/lists.csv}
events:
  view: {properties: {sku: string, price: money, tags: list, at: time}}
  order: {properties: {sku: string, amount: money}}
  sale: {properties: {amount: money}}
profile:
  first_name: string
  tier: string
  birthday: date
  phone: {type: string, sensitive: true}
  sms_ok: boolean
channels:
  push: {type: console}
  sms: {type: console, address: phone, consent: {opt_in: sms_ok}}
  mail: {type: webhook, url: "https://mail.example/send", receipts: {undelivered_after: 1h}}
"""
WAIT = """\
plan: reminder
trigger:
  event: view
  where: price >= 50
  without: {event: order, where: sku = view.sku}
  within: 1h
  key: sku
send: {channel: push, content: {body: "Still {{ view.sku }}?"}}
goals:
  - {goal: ordered, event: order, within: 1d, value: amount}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name in ("data", "rules"):
        (tmp_path / name).mkdir()
    (tmp_path / "flowops.yaml").write_text(PROJECT)
    (tmp_path / "data" / "lists.csv").write_text("user_id,segment\nu9,vip\nu9,staff\n")
    for name in ("web", "tills"):
        (tmp_path / "data" / f"{name}.jsonl").write_text("")
    return tmp_path


def write(shop: Path, plan: str, test: str) -> None:
    name = plan.split("\n", 1)[0].removeprefix("plan: ")
    (shop / "rules" / f"{name}.yaml").write_text(plan)
    (shop / "rules" / f"{name}.test.yaml").write_text(test)


def run(shop: Path) -> dict[str, Any]:
    """What each case lacks and has too much, by its name."""
    loaded = load_project(shop)
    tests = read_tests(loaded)
    assert loaded.project is not None, render(loaded.findings)
    assert tests.findings == [], render(tests.findings)
    report = run_tests(loaded, tests.checked)
    return {
        each.case.name: {
            wrong.key: ([dict(wish.keys) for wish in wrong.missing], [dict(row) for row in wrong.unexpected])
            for wrong in each.differences
        }
        for each in report.verdicts
    }


def passes(shop: Path, plan: str, test: str, *others: str) -> None:
    for other in others:
        name = other.split("\n", 1)[0].removeprefix("plan: ")
        (shop / "rules" / f"{name}.yaml").write_text(other)
    write(shop, plan, test)
    outcome = run(shop)
    assert outcome
    assert {name: wrong for name, wrong in outcome.items() if wrong} == {}


def test_times_are_local_or_since_the_line_before(shop: Path) -> None:
    """S10, S13: exactly at the deadline an order is too late; a case's time stops at its last line, or at `until`."""
    passes(
        shop,
        WAIT,
        """\
test: reminder
cases:
  - name: at the deadline
    events:
      - {at: 2022-04-21 10:00, user: u1, event: view, sku: A, price: 50}
      - {at: +1h, user: u1, event: order, sku: A, amount: 7.5}
    expect:
      triggers: [{at: 2022-04-21 11:00, user: u1, key: A, evidence: [e1], plan: reminder}]
      dispatches: [{at: "2022-04-21T03:00:00Z", user: u1, channel: push, step: 1, body: Still A?}]
      goals: [{goal: ordered, user: u1, at: 2022-04-21 11:00, value: 7.5}]
      losses: []
      pending: []
  - name: just before it
    events:
      - {at: 2022-04-21 10:00, user: u1, event: view, sku: A, price: 50}
      - {at: +59m59s, user: u1, event: order, sku: A}
    until: +1d
    expect: {triggers: [], dispatches: [], losses: [], goals: [], pending: []}
  - name: time stops
    events: [{at: 2022-04-21 10:00, user: u1, event: view, sku: A, price: 50}]
    until: +59m
    expect:
      dispatches: []
      pending: [{kind: wait, user: u1, at: 2022-04-21 11:00}]
""",
    )


def test_a_late_line_starts_nothing_and_a_repeated_one_counts_once(shop: Path) -> None:
    """S4, S9: lines are read in their order, whatever their times."""
    passes(
        shop,
        "plan: thanks\ntrigger: {event: order}\nsend: {channel: push, content: {body: Thanks}}\n",
        """\
test: thanks
cases:
  - name: late
    events:
      - {at: 2022-04-21 10:00, user: u1, event: order}
      - {at: -10s, user: u1, event: order}
      - {at: +6s, user: u1, event: order}
    expect:
      triggers: [{evidence: e1}, {evidence: e3, at: 2022-04-21 09:59:56}]
  - name: told twice
    events:
      - {at: 2022-04-21 10:00, user: u1, event: order, event_id: o1}
      - {at: 2022-04-21 10:00, user: u1, event: order, event_id: o1}
    expect: {triggers: [{evidence: o1}]}
""",
    )


def test_properties_have_their_types_and_may_be_called_like_keys(shop: Path) -> None:
    passes(
        shop,
        "plan: typed\n"
        "trigger: {event: view, where: \"price > 9 and cast(at as date) = '2022-04-22' and sku = '007'\"}\n"
        "send: {channel: push, content: {body: \"{{ view.price }} {{ view.tags | join: '+' }}\"}}\n",
        """\
test: typed
cases:
  - name: typed
    events:
      - at: 2022-04-21 10:00
        user: u1
        event: view
        sku: 007
        price: 10
        tags: [a, b]
        properties: {at: 2022-04-21T18:00Z}
    expect: {dispatches: [{body: 10 a+b}]}
""",
    )


def test_profiles_segments_and_their_changes(shop: Path) -> None:
    """S2, S19, S27: what is known before anything happens is no change; null deletes; consent and address are asked."""
    plan = """\
plan: club
audience: {not_segments: [staff]}
trigger: {any: [{enters: vip}, {attribute: tier, to: gold}]}
send: {channel: sms, content: {body: "{{ user.first_name | default: 'you' }}"}}
"""
    passes(
        shop,
        plan,
        """\
test: club
profiles:
  u1: {phone: 1, sms_ok: true, tier: gold, first_name: Mei}
  u2: {sms_ok: true}
segments: {vip: [u1], staff: u3}
cases:
  - name: nothing changes
    events:
      - {at: 2022-04-21 10:00, user: u1, profile: {tier: gold}}
      - {at: +1m, user: u1, enters: vip}
    expect: {triggers: []}
  - name: changes
    profiles: {u1: {tier: silver}, u4: {phone: 4}, u5: {phone: 5}}
    events:
      - {at: 2022-04-21 10:00, user: u1, profile: {tier: gold}}
      - {at: +1m, user: u1, leaves: vip}
      - {at: +1m, user: u1, profile: {first_name: }}
      - {at: +1m, user: u1, enters: vip}
      - {at: +1m, user: u2, enters: vip}
      - {at: +1m, user: u3, enters: vip}
      - {at: +1m, user: u4, enters: vip}
    expect:
      dispatches: [{user: u1, body: Mei, address: 1}, {user: u1, body: you}]
      losses:
        - {user: u2, loss: no_address, channel: sms}
        - {user: u4, loss: no_consent, detail: not opted in}
""",
    )


def test_receipts_are_for_the_latest_message_before_them(shop: Path) -> None:
    """S40: of two messages the second is clicked; what is never answered counts as undelivered."""
    passes(
        shop,
        "plan: mail\ntrigger: {event: order}\nsend: {channel: mail, content: {body: Hi}}\n",
        """\
test: mail
cases:
  - name: answers
    events:
      - {at: 2022-04-21 10:00, user: u1, event: order}
      - {at: +10m, user: u1, event: order}
      - {at: +10m, user: u1, receipt: clicked}
      - {at: +1m, user: u2, event: order}
      - {at: +1m, user: u2, receipt: failed}
    until: +1h
    expect:
      triggers: [{user: u1, evidence: e1}, {user: u1, evidence: e2}, {user: u2}]
      losses:
        - {user: u1, at: 2022-04-21 11:00, loss: undelivered}
        - {user: u2, at: 2022-04-21 10:22, loss: send_failed}
      goals: [{goal: clicked, user: u1, at: 2022-04-21 10:20}]
  - name: unsubscribed
    events:
      - {at: 2022-04-21 10:00, user: u1, event: order}
      - {at: +1m, user: u1, receipt: unsubscribed}
      - {at: +1m, user: u1, event: order}
    expect: {losses: [{at: 2022-04-21 10:02, loss: no_consent}]}
""",
    )


def test_arms_are_pinned(shop: Path) -> None:
    """S23: whoever they are, these users are in these arms."""
    passes(
        shop,
        "plan: copy\ntrigger: {event: order}\nexperiment: {holdout: 50%, variants: {a: 50%, b: 50%}}\n"
        'send: {channel: push, content: {body: "{{ variant }}"}}\n'
        "goals: [{goal: again, event: order, within: 1d}]\n",
        "test: copy\narms: {"
        + ", ".join(f"u{n}: {'ab'[n % 2] if n % 3 else 'holdout'}" for n in range(12))
        + "}\ncases:\n  - name: arms\n    events:\n"
        + "".join(f"      - {{at: 2022-04-21 10:00, user: u{n}, event: order}}\n" for n in range(12))
        + "    expect:\n      dispatches:\n"
        + "".join(
            f"        - {{user: u{n}, variant: {'ab'[n % 2]}, body: {'ab'[n % 2]}}}\n" for n in range(12) if n % 3
        )
        + "      losses:\n"
        + "".join(f"        - {{user: u{n}, loss: holdout}}\n" for n in range(0, 12, 3)),
    )


def test_schedules_and_dates_come_when_time_has_begun(shop: Path) -> None:
    """S18, S19: `from` says when, where no line does."""
    passes(
        shop,
        "plan: daily\naudience: {where: user.tier = 'gold'}\ntrigger: {schedule: {daily: 09:00}}\n"
        "send: {channel: push, content: {body: Hi}}\n",
        """\
test: daily
profiles: {u1: {tier: gold}, u2: {tier: silver}}
cases:
  - name: two mornings
    from: 2022-04-21 08:00
    until: 2022-04-22 09:00
    expect:
      dispatches: [{user: u1, at: 2022-04-21 09:00}, {user: u1, at: 2022-04-22 09:00}]
  - name: none before time begins
    from: 2022-04-21 09:01
    until: +1h
    expect: {dispatches: []}
""",
    )
    passes(
        shop,
        "plan: birthday\ntrigger: {date_of: birthday, yearly: true, at: 09:00, offset: -3d}\n"
        "send: {channel: push, content: {body: Soon}}\n",
        """\
test: birthday
profiles: {u1: {birthday: 1990-04-24}}
cases:
  - name: three days before
    from: 2022-04-20
    until: +2d
    expect: {dispatches: [{user: u1, at: 2022-04-21 09:00}]}
""",
    )


def test_lookbacks_know_the_history_from_where_the_case_begins(shop: Path) -> None:
    """S12a: without `from` nothing is known of before the first line, so nobody has not ordered for 30 days."""
    plan = (
        "plan: idle\naudience: {did_not: {event: order, within: 30d}}\ntrigger: {event: view}\n"
        "send: {channel: push, content: {body: Hi}}\n"
    )
    test = """\
test: idle
cases:
  - name: known
    from: 2022-03-01
    events:
      - {at: 2022-03-02 10:00, user: u2, event: order}
      - {at: 2022-04-01 09:59, user: u2, event: view}
      - {at: 2022-04-01 10:00, user: u1, event: view}
    expect: {triggers: [{user: u1}]}
  - name: unknown
    events: [{at: 2022-04-01 10:00, user: u1, event: view}]
    expect: {triggers: []}
"""
    passes(shop, plan, test)
    said = flowops("test", "-v", "--project", shop).stdout
    assert "not in the audience (did not order within 30d): did order within 30d: yes" in said
    assert "did order within 30d: unknown, the history does not reach back so far" in said


def test_only_the_plans_that_a_test_names_run(shop: Path) -> None:
    """Alone, or together where they share a cap (S24)."""
    other = (
        "plan: other\npriority: 5\ntrigger: {event: order}\n"
        "caps: [{at_most: 1, per: 1d, scope: project}]\nsend: {channel: push, content: {body: Hi}}\n"
    )
    mine = other.replace("other", "mine").replace("priority: 5\n", "")
    events = "    events: [{at: 2022-04-21 10:00, user: u1, event: order}]\n"
    passes(
        shop,
        mine,
        f"test: mine\ncases:\n  - name: alone\n{events}    expect: {{dispatches: [{{plan: mine}}]}}\n",
        other,
    )
    passes(
        shop,
        mine,
        f"test: [mine, other]\ncases:\n  - name: together\n{events}    expect:\n"
        "      dispatches: [{plan: other}]\n      losses: [{plan: mine, loss: frequency_cap}]\n",
    )


def test_each_expected_entry_stands_for_one_thing(shop: Path) -> None:
    """The general entry does not take what the special one needs, in whatever order they stand."""
    plan = "plan: thanks\ntrigger: {event: order}\nsend: {channel: push, content: {body: Thanks}}\n"
    events = "".join(f"      - {{at: 2022-04-21 1{n}:00, user: u{n}, event: order}}\n" for n in range(2))
    for first, second in (("{channel: push}", "{user: u0}"), ("{user: u0}", "{channel: push}")):
        passes(
            shop,
            plan,
            f"test: thanks\ncases:\n  - name: both\n    events:\n{events}"
            f"    expect: {{dispatches: [{first}, {second}]}}\n",
        )
    write(
        shop,
        plan,
        f"test: thanks\ncases:\n  - name: one is left\n    events:\n{events}"
        "    expect: {dispatches: [{user: u0}, {user: u0}]}\n",
    )
    ((missing, unexpected),) = [each["dispatches"] for each in run(shop).values()]
    assert missing == [{"user": "u0"}]
    assert [row["user"] for row in unexpected] == ["u1"]


FAILING = """\
test: reminder
cases:
  - name: another product, then the same, then too cheap
    events:
      - {at: 2022-04-21 10:00, user: u1, event: view, sku: A, price: 60}
      - {at: +10m, user: u1, event: order, sku: B, amount: 5}
      - {at: +10m, user: u1, event: view, sku: A, price: 70}
      - {at: +10m, user: u1, event: view, sku: C, price: 40}
      - {at: +10m, user: u2, event: view, sku: D, price: 60}
    until: +1h
    expect:
      dispatches:
        - {at: 2022-04-21 11:10, user: u1, body: {contains: Still B}}
"""


def test_a_failure_says_what_came_instead_and_why(shop: Path) -> None:
    write(shop, WAIT, FAILING)
    done = flowops("test", "--project", shop)
    assert done.returncode == 1
    story, _, rest = done.stdout.partition("why, u2:")
    assert (
        re.sub(r"as [0-9a-f]+-1-push", "as ID", story)
        == """\
rules/reminder.test.yaml:3:11: FAILED: another product, then the same, then too cheap
  dispatches: 1 expected did not come, 2 came unexpected
    expected  at='2022-04-21 11:10' user=u1 body=(contains 'Still B') (line 13)
    came      at='2022-04-21 11:00' user=u1 channel=push body='Still A?'
    came      at='2022-04-21 11:40' user=u2 channel=push body='Still D?'
  why, u1:
    2022-04-21 10:00  view sku=A price=60 (line 5)
        begins to wait, key A, until 2022-04-21 11:00
    2022-04-21 10:10  order sku=B amount=5 (line 6)
        does not end what began 2022-04-21 10:00: its key is B, not A
    2022-04-21 10:20  view sku=A price=70 (line 7)
        begins nothing: one of A is under way, or was begun by this event before
    2022-04-21 10:30  view sku=C price=40 (line 8)
        does not fit `view where price >= 50`: price is 40
    2022-04-21 11:00  what was waited for is due
        triggers, key A
        is decided, triggered 2022-04-21 11:00, key A
        sent on push as ID: body "Still A?"
  """
    )
    assert "1 failed" in rest
    answer = json.loads(flowops("test", "--json", "--project", shop).stdout)
    (case,) = answer["cases"]
    assert (answer["passed"], answer["failed"], case["passed"], case["place"]) == (
        0,
        1,
        False,
        "rules/reminder.test.yaml:3:11",
    )
    (difference,) = case["differences"]
    assert difference["missing"] == [
        {"at": "2022-04-21T11:10:00+08:00", "user": "u1", "content.body": {"contains": "Still B"}, "line": 13}
    ]
    assert {row["user"] for row in difference["unexpected"]} == set(case["stories"]) == {"u1", "u2"}


def test_a_story_tells_each_check_with_what_it_saw(shop: Path) -> None:
    (shop / "flowops.yaml").write_text(PROJECT + "quiet: {from: 22:00, to: 08:00, then: hold}\n")
    write(
        shop,
        "plan: all\ndates: {to: 2022-04-30}\naudience: {where: user.tier = 'gold'}\n"
        "trigger: {event: order}\nreentry: 2d\n"
        "caps: [{at_most: 1, per: 1d}]\nexperiment: {holdout: 10%}\nsend: {channel: sms, content: {body: Hi}}\n",
        """\
test: all
profiles: {u1: {tier: gold, phone: 1, sms_ok: true}}
arms: {u1: treatment}
cases:
  - name: at night
    events: [{at: 2022-04-21 23:00, user: u1, event: order}]
    until: +10h
    expect: {dispatches: [{user: u1, at: 2022-04-22 08:00}]}
""",
    )
    said = flowops("test", "-v", "--project", shop).stdout
    lines = [" ".join(line.split()) for line in said.splitlines()]
    for wanted in (
        "passes plan_ended the plan runs to before 2022-05-01 00:00",
        "passes not_in_audience user.tier = 'gold': tier is gold",
        "passes reentry once in 2d; never entered before",
        "passes no_consent sms_ok is true",
        "passes no_address phone is 1",
        "holds quiet_hours quiet 22:00 to 08:00, here it is 2022-04-21 23:00; quiet until 2022-04-22 08:00",
        "held back; then it is decided anew",
        "passes frequency_cap 1 per 1d (plan): 0 sent",
        "passes holdout all: treatment",
    ):
        assert wanted in lines, said


def test_coverage_lists_what_no_case_reached(shop: Path) -> None:
    write(shop, WAIT, FAILING)
    said = flowops("test", "--coverage", "--project", shop).stdout.splitlines()
    assert said[-2] == "reminder: 3 of 5 reached; not: content_invalid; goal ordered"
    answer = json.loads(flowops("test", "--json", "--project", shop).stdout)
    assert answer["coverage"] == [{"plan": "reminder", "of": 5, "missing": ["content_invalid", "goal ordered"]}]


def test_names_choose_tests(shop: Path) -> None:
    write(shop, WAIT, FAILING)
    thanks = "plan: thanks\ntrigger: {event: order}\nsend: {channel: push, content: {body: Thanks}}\n"
    write(
        shop,
        thanks,
        "test: thanks\ncases:\n  - {name: none, until: 2022-04-21, expect: {triggers: []}}\n",
    )
    (shop / "rules" / "bare.yaml").write_text(thanks.replace("thanks", "bare"))
    for name in ("thanks", "rules/thanks.test.yaml", str(shop / "rules" / "thanks.test.yaml")):
        done = flowops("test", name, "--project", shop)
        assert (done.returncode, done.stdout.partition(";")[0]) == (0, "1 passed")
    assert flowops("test", "--project", shop).returncode == 1
    assert "did you mean `thanks`" in refused(2, "test", "thank", "--project", shop)
    assert "has no test" in refused(2, "test", "bare", "--project", shop)


def test_a_test_with_an_error_fails_and_does_not_keep_plans_from_running(shop: Path) -> None:
    write(shop, WAIT, FAILING.replace("price: 40", "prize: 40"))
    done = flowops("test", "--project", shop)
    assert done.returncode == 1
    assert "rules/reminder.test.yaml:8:51: error FO303" in done.stdout
    assert "did you mean `price`?" in done.stdout
    assert done.stdout.endswith("0 passed, 1 file with errors was not run\n")
    assert flowops("lint", "--project", shop).returncode == 1
    assert flowops("replay", "--project", shop).returncode == 0


def test_tests_are_no_part_of_what_a_run_is_resumed_by(shop: Path) -> None:
    write(shop, WAIT, FAILING)
    before = load_project(shop)
    (shop / "rules" / "reminder.test.yaml").write_text(FAILING.replace("u2", "u3"))
    after = load_project(shop)
    assert before.config is not None
    assert after.config is not None
    assert before.config.files == after.config.files


def test_watch_tests_again_when_a_file_changes(shop: Path) -> None:
    write(shop, WAIT, FAILING)
    interruptible = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where the tests run in the background
    process = subprocess.Popen(
        command(shop, "--watch", verb="test"),
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        preexec_fn=interruptible,  # noqa: PLW1509 - no thread holds a lock that it would need
    )
    assert process.stdout is not None

    def until_it_waits() -> str:
        said = ""
        for line in process.stdout or ():
            said += line
            if "waiting for changes" in line:
                return said
        raise AssertionError(said)

    try:
        assert "1 failed" in until_it_waits()
        (shop / "rules" / "reminder.test.yaml").write_text(FAILING + "        - {user: u2, body: Still D?}\n")
        assert "1 failed" in until_it_waits()
        (shop / "rules" / "reminder.yaml").write_text("plan: [\n")
        assert "does not compile" in until_it_waits()
        (shop / "rules" / "reminder.yaml").write_text(WAIT)
        fixed = FAILING.replace("11:10, user: u1, body: {contains: Still B}", "11:00, user: u1, body: Still A?")
        (shop / "rules" / "reminder.test.yaml").write_text(fixed + "        - {user: u2}\n")
        assert "1 passed" in until_it_waits()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_examples_of_the_repository_pass() -> None:
    loaded = load_project(ROOT)
    tests = read_tests(loaded)
    assert tests.findings == []
    tested = {plan.file.plan for test in tests.checked for plan in test.plans}
    assert tested == {plan.file.plan for plan in loaded.plans}
    assert [each.case.name for each in run_tests(loaded, tests.checked).failed] == []


def test_the_example_of_the_page_passes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    ((name, text),) = re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", page, re.DOTALL)
    init(tmp_path / "shop")
    (tmp_path / "shop" / name).write_text(text)
    loaded = load_project(tmp_path / "shop")
    tests = read_tests(loaded)
    assert tests.findings == []
    report = run_tests(loaded, tests.checked)
    assert len(report.verdicts) == 2
    assert report.failed == []


def test_the_project_of_init_passes_and_every_step_of_it_is_reached(tmp_path: Path) -> None:
    init(tmp_path / "shop")
    loaded = load_project(tmp_path / "shop")
    tests = read_tests(loaded)
    report = run_tests(loaded, tests.checked)
    assert len(report.verdicts) > 5
    assert report.failed == []
    assert [each.missing for each in report.coverages] == [["content_invalid"]]
