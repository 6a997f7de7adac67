"""`flowops explain`: the story of a user on a log says what a run of the log does, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from project import flowops, refused, replay

from flowops.cli.init import command as init
from flowops.lab.explain import explain
from flowops.rules.load import load_project


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain") / "shop"
    init(folder)
    return folder


def rows(shop: Path, question: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(flowops("sql", question, "--format", "json", "--project", shop).stdout)
    return found


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
