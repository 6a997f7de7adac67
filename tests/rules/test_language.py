"""The examples of the language load as they stand: here as its page has them, in the starter, and in the demo."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flowops.cli.main import app
from flowops.cli.shop_log import write_shop_log
from flowops.core import plan as core
from flowops.core.time import DAY, HOUR, Zone, isoformat
from flowops.rules.findings import has_errors, render
from flowops.rules.load import load_project

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = re.findall(
    r"```yaml\n# (\S+\.yaml)\n(.*?)```", (ROOT / "docs" / "language.md").read_text("utf-8"), re.DOTALL
)
CUSTOMERS = "id,updated_at,first_name,city,tier,birthday,zone,device_token,phone,sms_ok\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The project and the plan of docs/language.md, with files that fit."""
    for name, text in EXAMPLES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "web-1.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "data" / "orders.csv").write_text("household_id,bought_at,sku,amount\n", encoding="utf-8")
    (tmp_path / "data" / "customers.csv").write_text(CUSTOMERS, encoding="utf-8")
    (tmp_path / "data" / "contacts.csv").write_text("user_id,employee\n", encoding="utf-8")
    (tmp_path / "data" / "logins.csv").write_text("cookie,user_id,ts\n", encoding="utf-8")
    (tmp_path / "data" / "vip.csv").write_text("user_id\n", encoding="utf-8")
    (tmp_path / "data" / "receipts.jsonl").write_text("", encoding="utf-8")
    return tmp_path


def test_the_examples_of_the_page_load(shop: Path) -> None:
    assert {name for name, _ in EXAMPLES} == {
        "flowops.yaml",
        "rules/unfinished-order.yaml",
        "rules/thanks.yaml",
        "rules/cart.yaml",
        "rules/price-drop.yaml",
        "rules/back-soon.yaml",
        "rules/receipt.yaml",
        "rules/templates/thanks.yaml",
        "rules/nurture.yaml",
        "rules/price-alert.yaml",
        "rules/policies/gentle.yaml",
    }
    loaded = load_project(shop)
    assert loaded.findings == [], render(loaded.findings)
    assert loaded.project is not None


def test_the_examples_of_caps_compile_to_what_they_say(shop: Path) -> None:
    """S24, S25: a key concerns plans whose events carry it; a window is about others; who waits is not disturbed."""
    project = load_project(shop).project
    assert project is not None
    plans = {plan.id: plan for plan in project.plans}
    drop, receipt = plans["price-drop"], plans["receipt"]
    each, few, over_all = drop.caps
    assert (each.key, each.plans, each.text) == (0, {drop.index}, "1 per 7d (plan, each sku)")
    assert (few.plans, few.channel, few.calendar) == ({drop.index}, drop.step.channel.index, "day")
    assert (over_all.plans, over_all.channel) == (None, None)
    assert drop.cap_values == (((0, 0),),)
    window = drop.skip_if_reached
    assert window is not None
    assert (window.at_most, window.rolling, window.plans) == (1, 3 * DAY, {plans["unfinished-order"].index})
    assert (receipt.caps, receipt.quiet, receipt.skip_if_reached, receipt.transactional) == ((), None, None, True)


def test_exits_and_labels_compile_to_what_they_say(shop: Path) -> None:
    """S29, S43: an exit listens before what begins; a label is an attribute of who attains."""
    project = load_project(shop).project
    assert project is not None
    plan = next(plan for plan in project.plans if plan.id == "back-soon")
    own = [each for each in project.listeners if each.plan == plan.index]
    exits = [each for each in own if isinstance(each, core.Exit)]
    assert [(bool(each.where), len(each.key)) for each in exits] == [(False, 1), (True, 1)]
    assert [type(each) for each in own] == [core.Attain, core.Cancel, core.Exit, core.Exit, core.Start]
    (goal,) = plan.goals
    assert next((project.attributes[number], value) for number, value in goal.label) == ("segment:came-back", True)


def test_the_example_plan_compiles_to_what_it_says(shop: Path) -> None:
    project = load_project(shop).project
    assert project is not None
    plan = next(plan for plan in project.plans if plan.id == "unfinished-order")
    assert plan.trigger == core.AbsenceTrigger(HOUR, "ignore", 0)
    assert plan.reentry == core.Reentry(always=True, gap=None)
    assert plan.quiet is None
    assert plan.experiment == core.Experiment("cart-copy", 0.1, (("short", 0.5), ("long", 0.5)))
    assert [cap.text for cap in plan.caps] == [
        "1 per 24h (plan)",
        "1 per calendar week (group Conversion)",
        "3 per 7d (project)",
    ]
    assert (isoformat(plan.starts_at), isoformat(plan.ends_at)) == ("2022-04-19T16:00:00Z", "2022-04-30T16:00:00Z")
    assert (plan.step.expires, plan.step.channel.name) == (DAY, "push")
    goal = plan.goals[0]
    assert (goal.name, goal.window, goal.target, goal.credit) == ("ordered", HOUR, 0.15, "every")
    assert project.attributes[project.channels[0].address or 0] == "device_token"
    assert project.attributes[project.zone_attribute or 0] == "zone"
    long = plan.step.content["long"](
        (("A7",),), tuple("Mei" if name == "first_name" else None for name in project.attributes), 0, "long"
    )
    assert long["body"] == "Hi Mei, 10 % off A7 until tonight."


def test_the_time_of_a_source_takes_its_own_zone_then_the_projects(shop: Path) -> None:
    """S1: never the machine's."""
    project = load_project(shop).project
    assert project is not None
    web, orders, crm, *_ = project.sources
    assert web.time == core.TimeField(("at",), "ms", Zone("Asia/Shanghai"))
    assert orders.time == core.TimeField(("bought_at",), None, Zone("America/New_York"))
    assert (web.event_id, orders.event_id) == ((("id",),), ())
    assert (web.event, orders.event, crm.kind) == (None, "order", "profiles")


def test_the_demo_has_no_errors() -> None:
    loaded = load_project(ROOT)
    assert not has_errors(loaded.findings), render(loaded.findings)


def test_init_writes_a_project_without_findings_and_refuses_to_overwrite(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    assert CliRunner().invoke(app, ["init", str(folder)]).exit_code == 0
    result = CliRunner().invoke(app, ["lint", "--json", "--project", str(folder)])
    assert (result.exit_code, json.loads(result.stdout)["findings"]) == (0, [])
    plan = folder / "rules" / "unfinished-order.yaml"
    plan.write_text("mine", encoding="utf-8")
    again = CliRunner().invoke(app, ["init", str(folder)])
    assert "already has flowops.yaml" in str(again.exception)
    assert plan.read_text(encoding="utf-8") == "mine"


def test_the_shop_log_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert write_shop_log(tmp_path / name) > 5000
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 6
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
