"""`flowops backtest`: what plans would have done is what a replay of them does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from project import flowops, refused, replay

from flowops.cli.init import command as init
from flowops.lab.rates import difference, rate


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backtest") / "shop"
    init(folder)
    return folder


def backtest(shop: Path, *arguments: str | Path) -> dict[str, Any]:
    done = flowops("backtest", "--json", "--project", shop, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def rows(shop: Path, question: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(flowops("sql", question, "--format", "json", "--project", shop).stdout)
    return found


def test_it_counts_what_a_replay_does(shop: Path) -> None:
    summary = replay(shop)
    answer = backtest(shop)
    assert answer == backtest(shop)
    (result,) = answer["results"]
    assert answer["records"] == summary["records"]
    assert result["triggered"] == result["attempts"] == summary["totals"]["triggers"]
    assert result["dispatched"] == summary["totals"]["dispatches"] == sum(day["dispatched"] for day in result["days"])
    assert sum(result["pending"].values()) == summary["totals"]["pending"]
    lost = rows(shop, "select stage, count(*)::int as n from losses group by stage")
    assert result["losses"] == {row["stage"]: row["n"] for row in lost}
    days = rows(
        shop,
        "select decided_at::date::varchar as day, channel, count(*)::int as n from dispatches"
        " group by all order by day",
    )
    assert [list(day.values()) for day in result["days"]] == [list(day.values()) for day in days]
    (goal,) = rows(
        shop,
        "select sum(attained)::int as attained, sum(delivered)::int as delivered, sum(value)::double as value,"
        " sum(held_out)::int as held_out, sum(held_out_attained)::int as anyway,"
        " sum(held_out_value)::double as anyway_value from attainment",
    )
    assert result["sent_to"] == goal["delivered"]
    assert result["held_out"] == goal["held_out"]
    (own,) = result["goals"]
    assert (own["attained"], own["held_out_attained"]) == (goal["attained"], goal["anyway"])
    assert own["value"] == pytest.approx(goal["value"])
    assert own["held_out_value"] == pytest.approx(goal["anyway_value"])
    assert own["rate"]["value"] == pytest.approx(goal["attained"] / goal["delivered"])
    assert own["natural"]["value"] == pytest.approx(goal["anyway"] / goal["held_out"])
    assert own["lift"]["value"] == pytest.approx(own["rate"]["value"] - own["natural"]["value"])
    assert own["natural"]["low"] < own["natural"]["value"] < own["natural"]["high"]
    assert result["holdout"] is True
    assert result["cost"] == pytest.approx(0.02 * result["dispatched"])


def test_nothing_is_sent_or_kept(tmp_path: Path) -> None:
    init(tmp_path / "shop")
    before = sorted(tmp_path.rglob("*"))
    done = flowops("backtest", "-v", "--project", tmp_path / "shop")
    assert done.returncode == 0
    for word in ("triggered", "lost: frequency_cap", "dispatched", "cost", "goal ordered", "2022-04-21 push", "lift"):
        assert word in done.stdout
    assert " held out\n" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_delivery_is_assumed_and_plans_are_chosen(tmp_path: Path) -> None:
    init(tmp_path / "shop")
    rules = tmp_path / "shop" / "rules"
    project = tmp_path / "shop" / "flowops.yaml"
    mail = '  mail: {type: webhook, url: "https://mail.example/send", receipts: {undelivered_after: 1h}}\n'
    project.write_text(project.read_text().replace("channels:\n", "channels:\n" + mail))
    (rules / "thanks.yaml").write_text(
        "plan: thanks\ntrigger: {event: order}\nsend: {channel: mail, content: {body: Thanks}}\nquiet: none\n"
        "goals: [{goal: again, event: order, within: 1d}]\n"
    )
    (result,) = backtest(tmp_path / "shop", "thanks")["results"]
    assert result["plan"] == "thanks"
    assert result["dispatched"] >= result["sent_to"] > 0
    assert "undelivered" not in result["losses"]
    assert result["goals"][0]["attained"] > 0
    assert [each["plan"] for each in backtest(tmp_path / "shop")["results"]] == ["unfinished-order", "thanks"]
    said = flowops("backtest", "thanks", "--project", tmp_path / "shop").stdout
    assert "the plan holds nobody out; `experiment: {name: NAME, holdout: 10%}` in it measures a natural rate" in said
    assert "did you mean `thanks`" in refused(2, "backtest", "thank", "--project", tmp_path / "shop")


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]
)
def test_intervals_are_those_of_the_books(count: int, of: int, low: float, high: float) -> None:
    """Newcombe 1998, the score method for one share (Statistics in Medicine 17, 857)."""
    found = rate(count, of)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_lift_of_a_journey_is_of_its_first_messages(tmp_path: Path) -> None:
    """S23: all attain the goal on their own, in a window that only a second message opens; that is no lift."""
    init(tmp_path / "shop")
    (tmp_path / "shop/rules/unfinished-order.test.yaml").unlink()
    (tmp_path / "shop/rules/unfinished-order.yaml").write_text(
        "plan: unfinished-order\ntrigger: {event: add_to_cart}\nquiet: none\nexperiment: {holdout: 50%}\nsend:\n"
        "  - {step: a, channel: screen, content: {body: a}}\n"
        "  - {step: b, after: 8d, channel: screen, content: {body: b}}\n"
        "goals: [{goal: ordered, event: product_view, within: 7d}]\n",
        encoding="utf-8",
    )
    log = tmp_path / "web.jsonl"
    moments = [("add_to_cart", 1_650_000_000_000), ("product_view", 1_650_864_000_000)]
    rows = [{"uid": f"u{n}", "type": name, "at": at, "id": f"{name}{n}"} for name, at in moments for n in range(30)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (result,) = backtest(tmp_path / "shop", "--input", f"web={log}")["results"]
    (goal,) = result["goals"]
    assert (goal["attained"], goal["held_out_attained"]) == (result["sent_to"], 0)
    assert goal["lift"]["value"] == 0


def test_the_interval_of_a_lift_is_that_of_the_books() -> None:
    """Newcombe 1998, method 10: 56 of 70 against 48 of 80 (Statistics in Medicine 17, 873)."""
    one, other = rate(56, 70), rate(48, 80)
    assert one is not None
    assert other is not None
    found = difference(one, other)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert rate(0, 0) is None


DAYS = """\
flowops: 1
project: days
zone: Asia/Shanghai
sources: {web: {file: web.jsonl, since: 2022-04-01}}
events: {look: {properties: {sku: string}}, buy: {properties: {sku: string}}}
channels: {app: {type: file, path: app.jsonl}, push: {type: file, path: push.jsonl}}
"""
JOURNEY = """\
plan: journey
trigger: {event: look, key: sku}
caps: [{at_most: 2, per: ever}]
exit: {event: buy, where: sku = look.sku}
send:
  - {step: one, channel: app, content: {body: a}}
  - {step: two, after: 1d, each: [app, push], content: {app: {body: b}, push: {body: b}}}
  - {step: three, after: 1d, channel: push, content: {body: c}}
goals: [{goal: bought, event: buy, within: 1d}]
"""
QUIET = """\
plan: quiet
trigger: {event: look, delay: 1h}
quiet: {from: 22:00, to: 08:00, then: hold}
exit: {event: buy, where: sku = look.sku}
send: {channel: app, content: {body: d}}
goals: [{goal: bought, event: buy, within: 1d}]
"""


@pytest.fixture
def days(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "flowops.yaml").write_text(DAYS)
    (tmp_path / "rules" / "journey.yaml").write_text(JOURNEY)
    (tmp_path / "rules" / "quiet.yaml").write_text(QUIET)
    records = (("look", "10T21:30", "A"), ("buy", "10T22:00", "B"), ("look", "13T21:10", "C"), ("buy", "13T22:20", "D"))
    (tmp_path / "web.jsonl").write_text(
        "".join(
            json.dumps({"user_id": "u1", "event": event, "ts": f"2022-04-{at}:00+08:00", "sku": sku, "event_id": sku})
            + "\n"
            for event, at, sku in records
        )
    )
    return tmp_path


def test_a_journey_has_more_attempts_than_triggers(days: Path) -> None:
    """One was sent at once; a day later two, as one step; the cap refuses the third, and all of the second journey."""
    (result,) = backtest(days, "journey")["results"]
    assert (result["triggered"], result["attempts"], result["dispatched"]) == (2, 5, 3)
    assert result["losses"] == {"frequency_cap": 2}
    said = " ".join(flowops("backtest", "journey", "--project", days).stdout.split())
    assert "triggered 2 attempts 5 a step on a channel each lost: frequency_cap 2 40.0% dispatched 3" in said
    assert "2022-04-10 app 1 2022-04-11 app 1 2022-04-11 push 1 still pending 1 journey 1; --until" in said


def test_a_message_is_of_the_day_on_which_it_is_sent(days: Path) -> None:
    """What is held has triggered, and what is delayed not yet."""
    (result,) = backtest(days, "quiet")["results"]
    assert (result["triggered"], result["dispatched"], result["pending"]) == (2, 1, {"held": 1})
    assert result["days"] == [{"day": "2022-04-11", "channel": "app", "dispatched": 1}]
    assert "dispatched 1 app 1; on 1 day " in " ".join(flowops("backtest", "--project", days, "quiet").stdout.split())
    with (days / "web.jsonl").open("a") as file:
        file.write('{"user_id": "u2", "event": "look", "ts": "2022-04-13T22:20:01+08:00", "sku": "A"}\n')
    (result,) = backtest(days, "quiet")["results"]
    assert (result["triggered"], result["pending"]) == (2, {"delay": 1, "held": 1})


def test_what_an_event_could_have_ended_is_told_of_all_that_is_under_way(days: Path) -> None:
    quiet = flowops("explain", "--user", "u1", "--plan", "quiet", "--project", days).stdout
    assert "does not end what began 2022-04-10 21:30: sku = look.sku: sku is B, look.sku is A" in quiet
    assert "does not end what began 2022-04-13 21:10: sku = look.sku: sku is D, look.sku is C" in quiet
    assert "nothing is under way" not in quiet
    (days / "web.jsonl").write_text((days / "web.jsonl").read_text().replace('"sku": "B"', '"sku": "A"'))
    journey = flowops("explain", "--user", "u1", "--plan", "journey", "--project", days).stdout
    assert "what began 2022-04-10 21:30, key A is ended by this" in journey
    assert "does not end what began 2022-04-13 21:10: its key is D, not C" in journey
    assert "nothing is under way" not in journey


def test_a_story_says_that_a_repeat_of_what_is_delayed_is_known(days: Path) -> None:
    """S4: both events are told again while their trigger waits out its delay."""
    (days / "rules" / "both.yaml").write_text(
        "plan: both\ntrigger: {all: [{event: look}, {event: buy}], within: 1h, delay: 1d}\nquiet: none\n"
        "send: {channel: app, content: {body: e}}\ngoals: [{goal: bought, event: buy, within: 1d}]\n"
    )
    told = [json.loads(line) for line in (days / "web.jsonl").read_text().splitlines()[:2]]
    again = [{**row, "ts": row["ts"].replace("10T2", "11T0")} for row in told]
    (days / "web.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*told, *again]))
    said = flowops("explain", "--user", "u1", "--plan", "both", "--project", days).stdout
    assert said.count("triggers") == 2
    assert "triggers, which is known, or one too many" in said


def test_what_is_told_again_long_after_counts_once(tmp_path: Path) -> None:
    """S4: nothing of it is remembered, and it is decided anew; figures are those of the reports on the same log."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "flowops.yaml").write_text(DAYS)
    plans = {
        "plain": "",
        "capped": "caps: [{at_most: 1, per: 30d}]\n",
        "held": "quiet: {from: 22:00, to: 08:00, then: hold}\n",
        "split": "experiment: {holdout: 50%}\n",
    }
    for plan, more in plans.items():
        (tmp_path / "rules" / f"{plan}.yaml").write_text(
            f"plan: {plan}\ntrigger: {{event: look}}\n{more}send: {{channel: app, content: {{body: a}}}}\n"
            "goals: [{goal: bought, event: buy, within: 1h}]\n"
        )
    (tmp_path / "rules" / "journey.yaml").write_text(JOURNEY)
    looks = [("10T21:30", "A"), ("10T23:00", "B"), ("13T21:30", "A"), ("14T12:00", "B"), ("16T23:00", "A")]
    rows = [
        {"user_id": user, "event": "look", "ts": f"2022-04-{when}:00+08:00", "sku": sku, "event_id": f"{sku}-{user}"}
        for when, sku in looks
        for user in ("u1", "u2", "u3", "u4")
    ]
    (tmp_path / "web.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    replay(tmp_path)
    report = json.loads(flowops("report", "--json", "--project", tmp_path).stdout)
    totals = {each["plan"]: each for each in report["totals"]}
    results = backtest(tmp_path)["results"]
    assert {result["plan"] for result in results} == {*plans, "journey"}
    for result in results:
        told = totals[result["plan"]]
        assert result["triggered"] == told["triggers"] == 8
        assert (result["attempts"], result["dispatched"]) == (told["attempts"], told["delivered"])
        assert result["dispatched"] == sum(day["dispatched"] for day in result["days"])
        lost = {row["stage"]: row["attempts"] for row in report["losses"] if row["plan"] == result["plan"]}
        assert result["losses"] == lost
