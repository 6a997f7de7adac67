"""`flowops backtest`: what plans would have done is what a replay of them does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from project import flowops, refused, replay

from flowops.cli.init import command as init


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
    assert result["triggered"] == summary["totals"]["triggers"]
    assert result["dispatched"] == summary["totals"]["dispatches"] == sum(day["dispatched"] for day in result["days"])
    assert result["pending"] == summary["totals"]["pending"]
    lost = rows(shop, "select stage, count(*)::int as n from losses group by stage")
    assert result["losses"] == {row["stage"]: row["n"] for row in lost}
    days = rows(
        shop, "select day::varchar as day, channel, count(*)::int as n from dispatches group by all order by day"
    )
    assert [list(day.values()) for day in result["days"]] == [list(day.values()) for day in days]
    (goal,) = rows(
        shop,
        "select sum(attained)::int as attained, sum(delivered)::int as delivered, sum(value)::double as value,"
        " sum(held_out)::int as held_out, sum(held_out_attained)::int as anyway from attainment",
    )
    assert result["sent_to"] == goal["delivered"]
    assert result["held_out"] == goal["held_out"]
    (own,) = result["goals"]
    assert (own["attained"], own["held_out_attained"]) == (goal["attained"], goal["anyway"])
    assert own["value"] == pytest.approx(goal["value"])
    assert result["cost"] == pytest.approx(0.02 * result["dispatched"])


def test_nothing_is_sent_or_kept(tmp_path: Path) -> None:
    init(tmp_path / "shop")
    before = sorted(tmp_path.rglob("*"))
    done = flowops("backtest", "-v", "--project", tmp_path / "shop")
    assert done.returncode == 0
    for word in ("triggered", "lost: frequency_cap", "dispatched", "cost", "goal ordered", "anyway", "2022-04-21 push"):
        assert word in done.stdout
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
    assert "did you mean `thanks`" in refused(2, "backtest", "thank", "--project", tmp_path / "shop")
