"""`flowops new`: plans to begin with are lint-clean in any project that has their events, and do what they say."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
from project import flowops, refused, replay

from flowops.lab.verdicts import run_tests
from flowops.rules.check_test import read_tests
from flowops.rules.document import read_document
from flowops.rules.editors import schema_of
from flowops.rules.load import load_project
from flowops.rules.scenarios import SCENARIOS

PROJECT = """\
flowops: 1
project: shop
zone: UTC
sources:
  web: {file: data/web.jsonl}
  crm: {kind: profiles, file: data/crm.jsonl}
profile: {first_name: string, birthday: date}
channels:
  push: {type: file, path: out/push.jsonl}
  sms: {type: file, path: out/sms.jsonl, limit: sms}
events:
  browse: {}
"""
CONSTANT = PROJECT.replace("web: {file: data/web.jsonl}", "web: {file: data/web.jsonl, event: browse}")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "flowops.yaml").write_text(PROJECT)
    (tmp_path / "data" / "web.jsonl").write_text("")
    (tmp_path / "data" / "crm.jsonl").write_text("")
    return tmp_path


def declare(shop: Path, said: str) -> None:
    """Do what the refusal says to try."""
    lines = re.findall(r"^ {4}(\"[^\"]+\": \{properties: .+)$", said, re.MULTILINE)
    assert lines
    with (shop / "flowops.yaml").open("a") as file:
        file.write("".join(f"  {line}\n" for line in lines))


def make(shop: Path, scenario: str, *arguments: str) -> None:
    done = flowops("new", scenario, *arguments, "--project", shop)
    if done.returncode == 2:
        declare(shop, done.stderr)
        done = flowops("new", scenario, *arguments, "--project", shop)
    assert (done.returncode, done.stderr) == (0, "")


def findings(shop: Path) -> list[str]:
    return [f"{each.place} {each.code} {each.what}" for each in load_project(shop).findings if each.code != "FO506"]


def test_it_says_where_the_schemas_come_from_that_the_files_name(shop: Path) -> None:
    declared = "  add_to_cart: {properties: {sku: string}}\n  order: {properties: {sku: string}}\n"
    (shop / "flowops.yaml").write_text(PROJECT + declared)
    assert "`flowops schema` writes" in flowops("new", "cart", "a", "--project", shop).stdout
    assert flowops("schema", "--project", shop).returncode == 0
    assert "`flowops schema` writes" not in flowops("new", "cart", "b", "--project", shop).stdout


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("channel", ["push", "sms"])
def test_each_scenario_is_lint_clean(scenario: str, channel: str, shop: Path) -> None:
    """Once the events are declared as the refusal says; with a greeting, and on an SMS without a title."""
    refused(2, "new", scenario, "mine", "--project", shop)
    assert not (shop / "rules").exists()
    make(shop, scenario, "mine", "--channel", channel)
    assert findings(shop) == []
    text = (shop / "rules" / "mine.yaml").read_text()
    assert "Hi {{ user.first_name | default: 'there' }}. " in text
    assert ("title:" in text) == (channel == "push")
    data = read_document(shop, shop / "rules" / "mine.yaml").data()
    jsonschema.Draft202012Validator(schema_of("plan")).validate(data)


ASKING = {
    "profile: {": "profile: {token: string, push_ok: boolean, ",
    "path: out/push.jsonl}": "path: out/push.jsonl, address: token, consent: {opt_in: push_ok}}",
    "events:\n": "quiet: {from: 11:00, to: 08:30, then: hold}\ncaps: [{at_most: 3, per: 7d}]\nevents:\n",
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("channel", ["push", "sms"])
def test_each_scenario_comes_with_a_test_that_passes(scenario: str, channel: str, shop: Path) -> None:
    """Also where the channel wants an address and consent, and quiet hours put messages off."""
    asking = PROJECT
    for text, instead in ASKING.items():
        assert text in asking
        asking = asking.replace(text, instead)
    (shop / "flowops.yaml").write_text(asking)
    make(shop, scenario, "mine", "--channel", channel)
    loaded = load_project(shop)
    tests = read_tests(loaded)
    report = run_tests(loaded, tests.checked)
    assert tests.findings == []
    assert len(report.verdicts) > 1
    assert report.failed == []
    data = read_document(shop, shop / "rules" / "mine.test.yaml").data()
    jsonschema.Draft202012Validator(schema_of("test")).validate(data)


def test_events_may_be_called_otherwise(shop: Path) -> None:
    """Also by names that neither filters nor texts could hold as they are."""
    make(shop, "cart", "--event", "added=add to cart", "--event", "bought=Kauf: fertig")
    assert findings(shop) == []
    plan = (shop / "rules" / "cart.yaml").read_text()
    assert '  event: "add to cart"\n' in plan
    assert '{event: "Kauf: fertig", where: sku = added.sku}' in plan


def test_all_of_them_do_what_they_say(shop: Path) -> None:
    """Each fires for whom it should, once, and not for whom it should not."""
    start = datetime.fromisoformat("2022-01-01T12:00:00+00:00")
    for scenario in ("cart", *SCENARIOS.keys() - {"cart"}):  # which declares all that is needed of an order
        make(shop, scenario)
    assert findings(shop) == []

    def at(user: str, hours: float, event: str, **properties: str) -> dict[str, str]:
        return {"user_id": user, "ts": (start + timedelta(hours=hours)).isoformat(), "event": event, **properties}

    log = [
        at("new", 0, "register"),
        at("new", 1, "register"),  # once
        at("cart", 0, "add_to_cart", sku="A"),
        at("cart", 0, "add_to_cart", sku="B"),  # at most one message a day
        at("buyer", 0, "add_to_cart", sku="A"),
        at("buyer", 0.5, "order", sku="A"),
        at("broke", 0, "payment_failed", order_id="o1"),
        at("paid", 0, "payment_failed", order_id="o1"),
        at("paid", 0.2, "payment_succeeded", order_id="o1"),
        at("away", 0, "login"),
        at("opener", 0, "group_opened", group_id="g1"),
        at("full", 0, "group_opened", group_id="g1"),
        at("full", 1, "group_completed", group_id="g1"),
        at("busy", 24 * 95, "browse"),
    ]
    (shop / "data" / "web.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in sorted(log, key=lambda line: line["ts"]))
    )
    (shop / "data" / "crm.jsonl").write_text('{"user_id": "child", "birthday": "1990-02-14"}\n')
    assert replay(shop)["status"] == "finished"
    lines = (shop / "out" / "push.jsonl").read_text().splitlines()
    sent = sorted((message["plan"], message["user_id"]) for message in map(json.loads, lines))
    assert sent == [
        ("birthday", "child"),
        ("cart", "cart"),
        ("group-invitation", "opener"),
        ("not-logged-in", "away"),
        ("onboarding", "new"),
        ("onboarding", "new"),
        ("onboarding", "new"),
        ("payment-failed", "broke"),
        ("repurchase", "buyer"),
        ("welcome", "new"),
        ("win-back", "buyer"),
    ]


def test_without_a_scenario_they_are_listed() -> None:
    listed = flowops("new").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(SCENARIOS)
    assert json.loads(flowops("new", "--json").stdout).keys() == SCENARIOS.keys()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("carts",), "there is no scenario `carts`\n  try: did you mean `cart`?"),
        (("cart", "my plan"), "`my plan` is not a name"),
        (("cart", "../x"), "`../x` is not a name"),
        (("cart", "--channel", "pusch"), "did you mean `push`?"),
        (("cart", "--event", "adde=x"), "cart has no event `adde`\n  try: did you mean `added`?"),
        (("cart", "--event", "added"), "--event takes ROLE=EVENT, got 'added'"),
    ],
    ids=" ".join,
)
def test_wrong_use_says_what_to_try(shop: Path, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(2, "new", *arguments, "--project", shop)


def test_nothing_is_written_over(shop: Path) -> None:
    """Neither a file nor an id that another file has."""
    make(shop, "win-back", "mine")
    before = (shop / "rules" / "mine.yaml").read_text()
    assert "already is a plan `mine`" in refused(2, "new", "cart", "mine", "--project", shop)
    (shop / "rules" / "mine.yaml").rename(shop / "rules" / "other.yaml")
    assert "already is a plan `mine`" in refused(2, "new", "win-back", "mine", "--project", shop)
    assert (shop / "rules" / "other.yaml").read_text() == before


def test_an_attribute_that_is_not_declared_is_told(shop: Path) -> None:
    (shop / "flowops.yaml").write_text(PROJECT.replace(", birthday: date", "") + "  order: {}\n")
    said = refused(2, "new", "birthday", "--project", shop)
    assert "under `profile:`, add or change\n    birthday: date" in said


def test_an_event_that_no_source_gives_is_told(shop: Path) -> None:
    (shop / "flowops.yaml").write_text(CONSTANT + "  order: {properties: {sku: string}}\n")
    said = refused(2, "new", "win-back", "--project", shop)
    assert "no source of flowops.yaml gives `order`; nothing was written" in said
