"""`flowops diff`: what two versions of the rules do on the same log, message by message."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from project import FLOWOPS, copy_of, flowops, refused, replay, write_project

from flowops.cli.init import command as init
from flowops.errors import ConfigError, RuleError
from flowops.lab.diff import Diff, PlanDiff, diff
from flowops.lab.versions import versions

PLAN = """\
plan: reminder
trigger: {event: product_view, where: price >= 50, without: order, within: 1h}
caps: [{at_most: 1, per: 24h}]
send: {channel: push, content: {title: Still thinking?, body: "{{ product_view.sku }}"}}
goals: [{goal: ordered, event: order, within: 1h, value: amount}]
"""
OTHER = """\
plan: thanks
trigger: {event: order}
send: {channel: push, content: {title: Thanks, body: "For {{ order.sku }}"}}
"""
TEN = 1_650_506_400_000  # 2022-04-21 10:00, local
MINUTE = 60_000
VIEWS = [  # event, user, minutes after ten, price
    ("a1", "ann", 0, 60),
    ("b1", "bob", 0, 40),
    ("c1", "cem", 0, 60),
    ("c2", "cem", 90, 90),
    ("d1", "dan", 0, 90),
    ("e1", "eve", 0, 90),
]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    project = write_project(tmp_path / "shop", {"reminder": PLAN, "thanks": OTHER}, FLOWOPS)
    lines = [
        {"event_id": event, "user_id": user, "event": "product_view", "ts": TEN + after * MINUTE, "sku": event,
         "price": price}
        for event, user, after, price in VIEWS
    ]  # fmt: skip
    order = {"event_id": "o1", "user_id": "eve", "event": "order", "ts": TEN + 90 * MINUTE, "sku": "e1", "amount": 9}
    end = {"event_id": "x1", "user_id": "end", "event": "page", "ts": TEN + 10 * 60 * MINUTE}
    written = "".join(json.dumps(line) + "\n" for line in sorted([*lines, order, end], key=lambda line: line["ts"]))
    (project / "data" / "log.jsonl").write_text(written)
    return project


def compared(shop: Path, tmp_path: Path, text: str, *ids: str, examples: int = 9) -> Diff:
    """What is in the project against `text`."""
    new = tmp_path / "new.yaml"
    new.write_text(text)
    both = versions(str(shop / "rules" / "reminder.yaml"), str(new), shop)
    return diff(both, ids, [], None, examples)


def of(told: Diff, plan: str = "reminder") -> PlanDiff:
    return next(each for each in told.plans if each.plan == plan)


def test_who_gains_and_who_loses_with_the_reason(shop: Path, tmp_path: Path) -> None:
    """Also a message for another occasion; and the other plan, which does the same."""
    told = compared(shop, tmp_path, PLAN.replace("price >= 50", "price < 50 or price > 80"))
    each = of(told)
    assert (each.users_gained, each.users_lost, each.same) == (1, 1, 2)
    (gained,) = each.changes["gained"].examples
    assert (gained.occasion.user, gained.before) == ("bob", None)
    assert gained.why == "does not fit `product_view where price >= 50`: price is 40"
    assert gained.after is not None
    assert (gained.after.at, gained.after.channel) == ((TEN + 60 * MINUTE) * 1000, "push")
    (lost,) = each.changes["lost"].examples
    assert (lost.occasion.user, lost.after) == ("ann", None)
    assert lost.why == "does not fit `product_view where price < 50 or price > 80`: price is 60"
    (instead,) = each.changes["instead"].examples
    assert instead.instead is not None
    assert (instead.occasion.evidence, instead.instead.evidence) == (("c1",), ("c2",))
    assert set(each.changes) == {"gained", "lost", "instead"}
    assert not of(told, "thanks").differs


def test_a_message_at_another_time_and_one_that_an_order_ends(shop: Path, tmp_path: Path) -> None:
    each = of(compared(shop, tmp_path, PLAN.replace("without: order, within: 1h", "without: order, within: 2h")))
    assert each.changes["moved"].messages == 3
    moved = each.changes["moved"].examples[0]
    assert moved.before is not None
    assert moved.after is not None
    assert moved.after.at - moved.before.at == 60 * MINUTE * 1000
    (lost,) = each.changes["lost"].examples
    assert lost.occasion.user == "eve"
    assert lost.why is not None
    assert lost.why == "what began 2022-04-21 10:00 is ended by this (order amount=9 sku=e1 (o1))"


def test_another_text_another_reason_and_what_is_lost_now(shop: Path, tmp_path: Path) -> None:
    each = of(compared(shop, tmp_path, PLAN.replace("Still thinking?", "Still there?")))
    assert (each.changes["changed"].messages, set(each.changes)) == (4, {"changed"})
    assert (each.users_gained, each.users_lost) == (0, 0)
    each = of(compared(shop, tmp_path, PLAN.replace("caps:", "reentry: once\ncaps:")))
    assert {kind: change.messages for kind, change in each.changes.items()} == {"reason": 1}
    (reason,) = each.changes["reason"].examples
    assert reason.before is not None
    assert reason.after is not None
    assert (reason.before.stage, reason.after.stage) == ("frequency_cap", "reentry")
    each = of(compared(shop, tmp_path, PLAN.replace("caps:", "quiet: {from: 10:00, to: 14:00, then: drop}\ncaps:")))
    assert each.changes["lost"].messages == 4
    after = each.changes["lost"].examples[0].after
    assert after is not None
    assert (after.stage, after.content) == ("quiet_hours", None)


JOURNEY = """\
plan: reminder
trigger: {event: product_view, where: price >= 50, without: order, within: 1h}
send:
  - {step: both, each: [push, page], content: {push: {title: A, body: B}, page: {body: C}}}
  - {step: later, after: 1h, channel: push, content: {title: D, body: "{{ product_view.price }}"}}
"""


def test_each_message_of_a_journey_is_told_apart(shop: Path, tmp_path: Path) -> None:
    """S30: also those of one step on several channels, and one that is lost before another is sent."""
    channels = "channels:\n  page: {type: file, path: out/page.jsonl, receipts: assumed}\n"
    (shop / "flowops.yaml").write_text(FLOWOPS.replace("channels:\n", channels))
    (shop / "rules" / "reminder.yaml").write_text(JOURNEY)
    each = of(compared(shop, tmp_path, JOURNEY.replace("[push, page]", "[push]").replace(", page: {body: C}", "")))
    assert (each.same, {kind: change.messages for kind, change in each.changes.items()}) == (10, {"lost": 5})
    undefined = JOURNEY.replace("title: A", "title: '{{ product_view.category }}'")
    each = of(compared(shop, tmp_path, undefined))
    assert (each.same, {kind: change.messages for kind, change in each.changes.items()}) == (10, {"lost": 5})
    after = [example.after for example in each.changes["lost"].examples]
    assert {None if fate is None else fate.stage for fate in after} == {"content_invalid"}


def test_plans_may_run_alone_and_examples_be_few(shop: Path, tmp_path: Path) -> None:
    told = compared(shop, tmp_path, PLAN.replace("within: 1h", "within: 2h"), "reminder", examples=1)
    assert [each.plan for each in told.plans] == ["reminder"]
    assert (of(told).changes["moved"].messages, len(of(told).changes["moved"].examples)) == (3, 1)
    assert repr(told) == repr(
        compared(shop, tmp_path, PLAN.replace("within: 1h", "within: 2h"), "reminder", examples=1)
    )


def test_a_plan_with_another_name_is_the_same_plan(shop: Path, tmp_path: Path) -> None:
    told = compared(shop, tmp_path, PLAN.replace("plan: reminder", "plan: nudge"))
    each = of(told, "nudge")
    assert each.before is not None
    assert each.before.plan == "reminder"
    assert (each.same, each.changes) == (4, {})
    assert [plan.plan for plan in told.plans] == ["nudge", "thanks"]


def test_two_folders_and_a_plan_that_only_one_has(shop: Path, tmp_path: Path) -> None:
    """The data is the newer one's."""
    old = copy_of(shop, tmp_path / "old")
    (old / "data").unlink()
    (old / "rules" / "thanks.yaml").unlink()
    told = diff(versions(str(old), str(shop), None), [], [], None, 3)
    assert not of(told).differs
    assert of(told, "thanks").before is None
    assert of(told, "thanks").changes["gained"].messages == 1


def git(folder: Path, *arguments: str) -> None:
    own = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True)


def test_what_git_has_against_what_lies_here(shop: Path, tmp_path: Path) -> None:
    """Of a project that is a folder of a repository, its data not in git; whole, or one file of it."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "shop/flowops.yaml", "shop/rules")
    git(tmp_path, "commit", "-qm", "rules")
    file = shop / "rules" / "reminder.yaml"
    file.write_text(PLAN.replace("within: 1h", "within: 2h"))
    (shop / "rules" / "thanks.yaml").write_text(OTHER.replace("Thanks", "Thank you"))
    told = diff(versions("HEAD", None, shop), [], [], None, 3)
    assert set(of(told).changes) == {"moved", "lost"}
    assert set(of(told, "thanks").changes) == {"changed"}
    told = diff(versions("HEAD", str(file), shop), [], [], None, 3)
    assert set(of(told).changes) == {"moved", "lost"}
    assert not of(told, "thanks").differs
    (shop / "rules" / "fresh.yaml").write_text(OTHER.replace("thanks", "fresh"))
    with pytest.raises(ConfigError, match=r"there is no .*fresh.yaml in HEAD"):
        versions("HEAD", str(shop / "rules" / "fresh.yaml"), shop)
    with pytest.raises(ConfigError, match="a revision of git; HEAD~9 is none of them\n  try: `flowops diff HEAD`"):
        versions("HEAD~9", None, shop)
    git(tmp_path, "add", "shop")
    file.write_text(PLAN.replace("price", "prise"))
    git(tmp_path, "commit", "-qam", "broken")
    file.write_text(PLAN)
    with pytest.raises(RuleError) as caught:
        versions("HEAD", str(file), shop)
    assert "OLD, HEAD:rules/reminder.yaml, does not compile\nHEAD:rules/reminder.yaml:2:" in str(caught.value)


def test_old_alone_is_compared_with_the_plan_that_lies_here(shop: Path, tmp_path: Path) -> None:
    old = tmp_path / "before.yaml"
    old.write_text(PLAN.replace("within: 1h", "within: 2h"))
    both = versions(str(old), None, shop)
    assert [plan.file.plan for plan in both.old.plans] == ["thanks", "reminder"]
    assert of(diff(both, [], [], None, 0)).changes["moved"].messages == 3
    old.write_text(PLAN.replace("reminder", "stranger"))
    with pytest.raises(ConfigError, match="has the plan `stranger`"):
        versions(str(old), None, shop)


def test_wrong_use(shop: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(PLAN.replace("within: 1h}", "within: 1 hour}"))
    said = refused(2, "diff", "--project", shop, shop / "rules" / "reminder.yaml", broken)
    assert f"NEW, {broken}, does not compile\n{broken}:2:" in said
    assert "1 hour" in said
    with pytest.raises(ConfigError, match="two plan files, or two folders"):
        versions(str(shop), str(broken), shop)
    with pytest.raises(ConfigError, match="a folder to compare is a project's"):
        versions(str(tmp_path), None, shop)
    with pytest.raises(ConfigError, match=r"there is no nothing\.yaml\n  try: leave it out"):
        versions("HEAD", "nothing.yaml", shop)
    file = shop / "rules" / "reminder.yaml"
    assert "did you mean `reminder`" in refused(2, "diff", "--project", shop, file, file, "--plan", "remindr")


def test_it_is_told_as_text_and_as_data(shop: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(PLAN.replace("price >= 50", "price < 50 or price > 80"))
    arguments = ("diff", "--project", shop, shop / "rules" / "reminder.yaml", new)
    done = flowops(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout
    assert "triggered 5 4 -1 lost: frequency_cap 1 0 -1 dispatched 4 4 goal ordered" in " ".join(said.split())
    assert "1 user gained, 1 lost; 2 messages the same" in said
    assert (
        "    bob (b1)\n"
        "      before  no trigger: does not fit `product_view where price >= 50`: price is 40\n"
        '      after   2022-04-21 11:00  on push: title "Still thinking?", body "b1"\n'
    ) in said
    assert "thanks " in said
    assert "does the same (1 triggered, 1 dispatched)" in said
    answer = json.loads(flowops(*arguments, "--json").stdout)
    reminder = answer["plans"][0]
    assert reminder["changes"]["gained"]["examples"][0]["after"]["at"] == "2022-04-21T11:00:00+08:00"
    assert (reminder["before"]["triggered"], reminder["after"]["triggered"]) == (5, 4)


def dispatches(shop: Path) -> dict[tuple[str, ...], tuple[str, ...]]:
    question = (
        "select user_id, key, evidence::varchar as e, decided_at::varchar as at, channel, content from dispatches"
    )
    rows = json.loads(flowops("sql", question, "--format", "json", "--project", shop).stdout)
    return {(row["user_id"], row["key"], row["e"]): (row["at"], row["channel"], row["content"]) for row in rows}


def test_it_says_what_two_replays_do(tmp_path: Path) -> None:
    """Counted by hand from the outcomes of both."""
    old = tmp_path / "old"
    init(old)
    new = copy_of(old, tmp_path / "new")
    file = new / "rules" / "unfinished-order.yaml"
    text = file.read_text()
    assert "price >= 50" in text
    assert "  within: 1h" in text
    file.write_text(text.replace("price >= 50", "price >= 80").replace("  within: 1h", "  within: 2h"))
    replay(old)
    replay(new)
    was, now = dispatches(old), dispatches(new)
    answer: dict[str, Any] = json.loads(flowops("diff", old, new, "--json", "--examples", "9999").stdout)
    (plan,) = answer["plans"]
    changes = plan["changes"]
    counted = {kind: changes[kind]["messages"] if kind in changes else 0 for kind in (
        "gained", "lost", "instead", "moved", "changed")}  # fmt: skip
    assert counted["gained"] + counted["instead"] == len(now.keys() - was.keys())
    assert counted["lost"] + counted["instead"] == len(was.keys() - now.keys())
    both = was.keys() & now.keys()
    assert counted["moved"] == sum(was[each][0] != now[each][0] for each in both) > 100
    assert counted["changed"] == 0
    assert plan["same"] == sum(was[each] == now[each] for each in both)
    users, others = {each[0] for each in was}, {each[0] for each in now}
    assert (plan["users_gained"], plan["users_lost"]) == (len(others - users), len(users - others))
    assert len({each["user"] for each in changes["lost"]["examples"]} & users) == changes["lost"]["users"]
    for each in changes["lost"]["examples"]:
        assert each["after"] is not None or each["why"]
