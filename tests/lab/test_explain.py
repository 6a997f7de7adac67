"""`flowops explain`: the story of a user on a log says what a run of the log does, and why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from project import flowops, refused, replay, write_project

from flowops.cli.init import command as init
from flowops.core.admission import trigger_id
from flowops.core.effects import dispatch_id
from flowops.lab.explain import Explanation, explain
from flowops.lab.happened import Joined, join
from flowops.rules.load import load_project
from flowops.warehouse.history import history
from flowops.warehouse.outcomes import connect


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain") / "shop"
    init(folder)
    return folder


def rows(shop: Path, question: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(flowops("sql", question, "--format", "json", "--project", shop).stdout)
    return found


def joined_with(shop: Path, told: Explanation) -> Joined:
    connection = connect(shop / "warehouse")
    try:
        return join(told, history(connection, told.plan.id, told.names))
    finally:
        connection.close()


def test_it_tells_what_a_run_did(shop: Path) -> None:
    """Of users of every kind: each decision of the run is told, with the check that it failed by, and no other."""
    replay(shop)
    loaded = load_project(shop)
    assert loaded.project is not None
    (plan,) = loaded.project.plans
    users = [
        row["user_id"]
        for row in rows(
            shop,
            "select user_id from (select user_id, stage, row_number() over (partition by stage order by user_id) as n"
            " from outcomes) where n <= 4",
        )
    ]
    assert len(set(users)) > 8
    outcomes = rows(shop, "select user_id, trigger_id, stage from outcomes order by ended_at, trigger_id")
    for user in sorted(set(users)):
        told = explain(loaded, plan, user, [], None)
        failed = [
            "delivered" if line.startswith("sent on") else line.removeprefix("lost: ")
            for scene in told.story
            for line in scene.then
            if isinstance(line, str) and line.startswith(("sent on", "lost: "))
        ]
        assert failed == [row["stage"] for row in outcomes if row["user_id"] == user], user
        joined = joined_with(shop, told)
        assert joined.decisions == len(failed)
        assert (joined.only_there, joined.only_here) == (0, 0), user
        assert joined.story == told.story
        for scene in told.story:
            checks = [line for line in scene.then if not isinstance(line, str)]
            assert all(check.passed for check in checks[:-1])


def story(shop: Path, *arguments: str | Path) -> str:
    done = flowops("explain", "--project", shop, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(done.stdout.split())


LOG = """\
{"id": "e1", "uid": "u1", "type": "product_view", "at": 1650506400000, "sku": "A", "price": 60, "category": "bags"}
{"id": "e2", "uid": "u1", "type": "order", "at": 1650508200000, "sku": "B", "amount": 9}
{"id": "e3", "uid": "u2", "type": "product_view", "at": 1650508800000, "sku": "A", "price": 40, "category": "bags"}
{"id": "e4", "uid": "u3", "type": "add_to_cart", "at": 1650508800000, "sku": "A"}
"""


def test_a_log_of_its_own(shop: Path, tmp_path: Path) -> None:
    """S6: nothing is flushed because the log ended; `--until` lets time go on."""
    log = tmp_path / "web-2022.jsonl"
    log.write_text(LOG)
    said = story(shop, "--user", "u1", "--plan", "unfinished-order", "--input", log)
    assert "begins to wait, key A, until 2022-04-21 11:00" in said
    assert "does not end what began 2022-04-21 10:00: its key is B, not A" in said
    assert said.endswith(
        "still waits (wait), since 2022-04-21 10:00, until 2022-04-21 11:00 it never triggered, so far"
    )
    said = story(shop, "--user", "u1", "--plan", "unfinished-order", "--input", f"web={log}", "--until", "2022-04-22")
    assert "2022-04-21 11:00 what was waited for is due triggers, key A" in said
    assert "fails no_address device_token is missing lost: no_address" in said


def test_who_never_entered(shop: Path, tmp_path: Path) -> None:
    log = tmp_path / "web-2022.jsonl"
    log.write_text(LOG)
    said = story(shop, "--user", "u2", "--plan", "unfinished-order", "--input", log)
    assert "does not fit `product_view where price >= 50 and category in ('shoes', 'bags')`: price is 40" in said
    assert said.endswith("it never triggered")
    assert story(shop, "--user", "u3", "--plan", "unfinished-order", "--input", log).endswith("it never triggered")
    said = story(shop, "--user", "nobody", "--plan", "unfinished-order", "--input", log)
    assert said.endswith("nothing of this user is in the inputs: never entered")


def test_sensitive_values_are_not_shown(shop: Path) -> None:
    token = (shop / "data" / "customers.csv").read_text().splitlines()
    place = token[0].split(",").index("device_token")
    user, value = next((line.split(",")[0], line.split(",")[place]) for line in token[1:] if line.split(",")[place])
    arguments = ("explain", "--project", shop, "--user", user, "--plan", "unfinished-order")
    assert value not in flowops(*arguments).stdout
    answer = flowops(*arguments, "--json").stdout
    assert value not in answer
    assert json.loads(answer)["user"] == user


def test_what_cannot_be_explained(shop: Path, tmp_path: Path) -> None:
    plan = ("--plan", "unfinished-order")
    assert "did you mean" in refused(2, "explain", "--project", shop, "--user", "u", "--plan", "unfinished")
    log = tmp_path / "log.jsonl"
    assert "of which source?" in refused(2, "explain", "--project", shop, "--user", "u", *plan, "--input", log)
    refused(2, "explain", "--project", shop, "--user", "u", *plan, "--input", f"web={log}")
    assert "--until" in refused(2, "explain", "--project", shop, "--user", "u", *plan, "--until", "soon")


RECEIPTS = """\
flowops: 1
project: shop
zone: Asia/Shanghai
sources:
  web: {file: data/web.jsonl, fields: {ts: {path: ts, unit: ms}}}
  back: {kind: receipts, file: data/back.csv}
events:
  view: {properties: {price: money}}
  order: {properties: {amount: money}}
channels:
  app: {type: file, path: out/app.jsonl, receipts: {undelivered_after: 30m}}
"""
NUDGE = """\
plan: nudge
trigger: {event: view, where: price >= 50, without: order, within: 1h}
send: {channel: app, content: {title: Hello, body: "{{ view.price }}"}}
goals: [{goal: ordered, event: order, within: 1h, value: amount}]
"""
TEN = 1_650_506_400_000  # 2022-04-21 10:00


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project that has run, of one message: delivered, clicked, and bought after; and the message's id."""
    shop = write_project(tmp_path_factory.mktemp("ran") / "shop", {"nudge": NUDGE}, RECEIPTS)
    rows = [("v1", "ann", "view", 0, {"price": 60}), ("o1", "ann", "order", 90, {"amount": 60})]
    rows += [("v2", "bob", "view", 0, {"price": 60}), ("p1", "end", "page", 600, {})]
    lines = [
        {"event_id": event, "user_id": user, "event": name, "ts": TEN + 60_000 * after, **values}
        for event, user, name, after, values in sorted(rows, key=lambda row: row[3])
    ]
    (shop / "data" / "web.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    back = shop / "data" / "back.csv"
    back.write_text("dispatch_id,receipt,ts\n")
    loaded = load_project(shop)
    assert loaded.project is not None
    (plan,) = loaded.project.plans
    message = dispatch_id(trigger_id("nudge", "ann", None, ["v1"]), plan.step.name, "app")
    with back.open("a") as file:
        file.write(f"{message},delivered,2022-04-21T11:01:00+08:00\n{message},clicked,2022-04-21T11:05:00+08:00\n")
    replay(shop)
    return shop, message


def told_of(shop: Path, user: str) -> Explanation:
    loaded = load_project(shop)
    assert loaded.project is not None
    return explain(loaded, loaded.project.plans[0], user, [], None)


def test_where_a_run_and_its_inputs_agree_it_is_told_once(ran: tuple[Path, str]) -> None:
    shop, message = ran
    joined = joined_with(shop, told_of(shop, "ann"))
    assert (joined.decisions, joined.receipts, joined.goals) == (1, 2, 1)
    assert (joined.only_there, joined.only_here) == (0, 0)
    said = story(shop, "--user", "ann", "--plan", "nudge")
    assert "the outcomes have 1 decision, 2 receipts, 1 goal event; the inputs lead to the same" in said
    assert said.count(f"sent on app as {message}") == 1
    assert re.search(r"receipt delivered \(back/data/back.csv:\d+\) the message counts as delivered", said)
    said = story(shop, "--user", "bob", "--plan", "nudge")
    assert "the outcomes have 1 decision; the inputs lead to the same" in said
    assert "the message counts as undelivered" in said
    assert "the outcomes have nothing of this user and plan" in story(shop, "--user", "eve", "--plan", "nudge")
    log = ("--input", shop / "data" / "web.jsonl")
    assert "the outcomes" not in story(shop, "--user", "ann", "--plan", "nudge", *log)


def test_of_which_message_a_goal_is(tmp_path: Path) -> None:
    """Two messages of one journey that an order attains are two goals, here and in the outcomes."""
    send = "[{channel: app, content: {body: A}}, {after: 10m, channel: app, content: {body: B}}]"
    goals = "[{goal: ordered, event: order, within: 1h, value: amount}]"
    plan = f"plan: nudge\ntrigger: {{event: view}}\nsend: {send}\ngoals: {goals}\n"
    settings = RECEIPTS.replace("receipts: {undelivered_after: 30m}", "receipts: assumed")
    shop = write_project(tmp_path / "shop", {"nudge": plan}, settings)
    rows = [("v1", "view", 0, {"price": 60}), ("o1", "order", 20, {"amount": 60})]
    lines = [
        json.dumps({"event_id": event, "user_id": "ann", "event": name, "ts": TEN + 60_000 * after, **values})
        for event, name, after, values in rows
    ]
    (shop / "data" / "web.jsonl").write_text("\n".join(lines) + "\n")
    (shop / "data" / "back.csv").write_text("dispatch_id,receipt,ts\n")
    replay(shop)
    joined = joined_with(shop, told_of(shop, "ann"))
    assert (joined.goals, joined.only_there, joined.only_here) == (2, 0, 0)
    said = story(shop, "--user", "ann", "--plan", "nudge")
    for message in re.findall(r"sent on app as (\S+):", said):
        assert said.count(f"attains the goal `ordered`, of {message}, worth 60") == 1
    assert said.count("attains the goal") == 2


def test_a_topic_is_not_read_and_what_a_run_did_is_told_all_the_same(ran: tuple[Path, str], tmp_path: Path) -> None:
    shop, message = ran
    live = write_project(tmp_path / "live", {"nudge": NUDGE}, RECEIPTS)
    settings = (live / "flowops.yaml").read_text()
    settings = settings.replace("file: data/web.jsonl", 'kafka: {topic: web, brokers: "localhost:1"}')
    settings = settings.replace("file: data/back.csv", 'kafka: {topic: back, brokers: "localhost:1"}')
    (live / "flowops.yaml").write_text(settings)
    asked = ("--user", "ann", "--plan", "nudge")
    said = story(live, *asked)
    assert (
        "not read, being no files: web, back; what was in them, and why it led to what it did, is told of a log" in said
    )
    assert said.endswith("--input web=FILE nothing of this user is in the files that were read")
    (live / "warehouse").symlink_to(shop / "warehouse")
    said = story(live, *asked)
    assert "the outcomes have 1 decision, 2 receipts, 1 goal event; " in said
    assert "2022-04-21 11:00 in the outcomes is decided, triggered 2022-04-21 11:00 sent on app as " + message in said
    assert f'{message}: title "Hello", body "60"' in said
    assert f"2022-04-21 11:05 in the outcomes receipt clicked of {message}" in said
    assert f"2022-04-21 11:30 in the outcomes attains the goal `ordered` by o1, of {message}, worth 60" in said
    assert "never" not in said
    answer = json.loads(flowops("explain", "--project", live, "--json", *asked).stdout)
    assert answer["outcomes"]["decisions"] == 1
    assert {scene["of"] for scene in answer["story"]} == {"outcomes"}


def test_where_the_plan_has_changed_since_it_is_marked(ran: tuple[Path, str], tmp_path: Path) -> None:
    """What the run sent, and the plan as it is now would not; and the reverse."""
    shop, message = ran
    now = write_project(tmp_path / "now", {"nudge": NUDGE.replace("price >= 50", "price < 50")}, RECEIPTS)
    for name in ("web.jsonl", "back.csv"):
        (now / "data" / name).symlink_to(shop / "data" / name)
    (now / "warehouse").symlink_to(shop / "warehouse")
    said = story(now, "--user", "ann", "--plan", "nudge")
    version = load_project(shop).plans and told_of(shop, "ann").plan.version
    assert f"they are of version {version}; the checks below are those of the plan as it is now" in said
    assert "does not fit `view where price < 50`: price is 60" in said
    assert f"in the outcomes is decided, triggered 2022-04-21 11:00 sent on app as {message}" in said
    (now / "rules" / "nudge.yaml").write_text(NUDGE.replace("within: 1h}\nsend", "within: 2h}\nsend"))
    said = story(now, "--user", "bob", "--plan", "nudge")
    assert "only there, " in said
    assert "only led to by the inputs, marked below" in said
    assert "2022-04-21 12:00 not in the outcomes, whose last decision is of 2022-04-21 11:00 sent, trigger " in said
