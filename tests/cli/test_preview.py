"""`flowops preview`: the messages of a plan for a user, with what is missing and what stands in for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from project import flowops, refused

# ruff: noqa: E501 - plans as they are written

PROJECT = """\
flowops: 1
project: shop
zone: Asia/Shanghai
sources:
  web: {file: data/web.jsonl}
  crm: {kind: profiles, file: data/crm.jsonl, fields: {ts: ts}}
  vip: {kind: segments, segment: vip, file: data/vip.csv}
  live: {kind: profiles, kafka: {topic: crm, brokers: "localhost:1"}}
events:
  order: {properties: {sku: string, amount: money, at: time, on: date, gift: boolean}}
profile:
  first_name: string
  city: string
  phone: {type: string, sensitive: true}
  sms_ok: boolean
channels:
  sms: {type: console, address: phone, consent: {opt_in: sms_ok}, limit: sms}
"""
PLAN = """\
plan: thanks
audience: {segments: [vip]}
trigger: {event: order, as: bought}
experiment: {name: copy, holdout: 10%, variants: {plain: 50%, long: 50%}}
send:
  channel: sms
  content:
    variants:
      plain: {body: "Hi {{ user.first_name | default: 'you' }}, {{ bought.sku }} for {{ bought.amount }} on {{ bought.on }}."}
      long: {body: "{{ user.city | default: 'Somewhere' | upcase }}: {{ user.first_name }} {{ bought.at | date: '%H:%M' }}"}
"""
CRM = [
    {"user_id": "u1", "ts": "2022-04-20T00:00:00Z", "first_name": "Mei", "phone": "13800000000", "sms_ok": True},
    {"user_id": "u1", "ts": "2022-04-22T00:00:00Z", "first_name": "Meili"},
    {"user_id": "u1", "ts": "2022-04-21T00:00:00Z", "first_name": "Old", "city": "Beijing"},
    {"user_id": "u2", "ts": "2022-04-20T00:00:00Z", "first_name": None},
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "rules").mkdir()
    (folder / "data").mkdir()
    (folder / "flowops.yaml").write_text(PROJECT)
    (folder / "rules" / "thanks.yaml").write_text(PLAN)
    (folder / "data" / "web.jsonl").write_text("")
    (folder / "data" / "crm.jsonl").write_text("".join(json.dumps(line) + "\n" for line in CRM))
    (folder / "data" / "vip.csv").write_text(
        "user_id,ts,action\nu1,2022-04-20 00:00,enter\nu2,2022-04-20 00:00,leave\n"
    )
    return folder


def shown(shop: Path, *arguments: str) -> dict[str, Any]:
    done = flowops("preview", "thanks", "--project", shop, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


EVENT = (
    "--event",
    "sku=A7",
    "--event",
    "bought.amount=60",
    "--event",
    "at=2022-04-21 10:30",
    "--event",
    "on=2022-04-21",
)


def test_a_users_profile_is_the_newest_of_each_attribute(shop: Path) -> None:
    """By time, not by place; segments are read too, and what is not a file is named."""
    answer = shown(shop, "--user", "u1", *EVENT)
    plain, long = answer["messages"]
    assert plain["content"] == {"body": "Hi Meili, A7 for 60 on 2022-04-21."}
    assert long["content"] == {"body": "BEIJING: Meili 10:30"}
    assert (plain["variant"], plain["share"], long["share"]) == ("plain", 0.45, 0.45)
    assert plain["sms"] == {"body": {"units": 34, "limit": 160}}
    assert answer["losses"] == []
    assert answer["address"] == "phone (sensitive, not shown)"
    assert "13800000000" not in json.dumps(answer)
    assert answer["arm"] in ("plain", "long", "holdout")
    assert answer["found_in"] == ["data/crm.jsonl", "data/vip.csv"]
    assert "not read, being no files: live" in flowops("preview", "thanks", "--project", shop, "--user", "u1").stdout


def test_what_is_missing_is_told_with_what_stands_for_it(shop: Path) -> None:
    """Also the default that comes before further filters; a text that needs the value is not sent (S33)."""
    answer = shown(shop, "--user", "u2", *EVENT)
    plain, long = answer["messages"]
    assert plain["content"] == {"body": "Hi you, A7 for 60 on 2022-04-21."}
    assert (long["content"], long["error"]) == (
        {},
        "`user.first_name` has no value and no default: write `{{ user.first_name | default: '...' }}`",
    )
    values = {value["name"]: value for value in answer["values"]}
    assert (values["user.first_name"]["shown"], values["user.first_name"]["fallbacks"]) == (None, ["you"])
    assert (values["user.city"]["shown"], values["user.city"]["fallbacks"]) == (None, ["Somewhere"])
    assert values["bought.sku"] == {"name": "bought.sku", "shown": "A7", "made_up": False, "fallbacks": []}
    assert answer["losses"] == [
        ["not_in_audience", "in vip"],
        ["no_consent", "not opted in"],
        ["no_address", "the address is missing"],
    ]
    said = flowops("preview", "thanks", "--project", shop, "--user", "u2").stdout
    assert "user.first_name  missing; `you` stands for it\n" in said
    assert "not sent, content_invalid: `user.first_name`" in said


def test_without_anything_the_values_are_examples(shop: Path) -> None:
    answer = shown(shop)
    assert answer["messages"][0]["content"]["body"].startswith("Hi [first_name], [sku] for 59.9 on 20")
    assert all(value["made_up"] for value in answer["values"])
    assert answer["losses"] == []
    assert "[sku] (made up)" in flowops("preview", "thanks", "--project", shop).stdout


def test_a_given_profile_is_all_there_is(shop: Path) -> None:
    """And what is given goes over what a file says; nothing behind the sign makes it missing."""
    answer = shown(shop, "--profile", "first_name=Xin", *EVENT)
    assert answer["messages"][0]["content"] == {"body": "Hi Xin, A7 for 60 on 2022-04-21."}
    assert answer["messages"][1]["content"] == {"body": "SOMEWHERE: Xin 10:30"}
    answer = shown(shop, "--user", "u1", "--profile", "city=Xi'an", "--profile", "first_name=", *EVENT)
    assert answer["messages"][0]["content"]["body"].startswith("Hi you,")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--profile", "frist_name=x"), "no attribute `frist_name`\n  try: did you mean `first_name`?"),
        (("--profile", "sms_ok=maybe"), "sms_ok is a boolean, and 'maybe' is none"),
        (("--profile", "city"), "--profile takes NAME=VALUE, got 'city'"),
        (("--event", "skuu=1"), "no property of the plan's events `skuu`"),
        (("--event", "amount=much"), "amount is a money, and 'much' is none"),
    ],
    ids=" ".join,
)
def test_wrong_use_says_what_to_try(shop: Path, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(2, "preview", "thanks", "--project", shop, *arguments)


def test_each_step_of_a_sequence_has_its_values(shop: Path) -> None:
    """Also one that is taken several times, of which a filter names the first."""
    (shop / "rules" / "steps.yaml").write_text(
        "plan: steps\n"
        "trigger:\n"
        "  sequence:\n"
        "    - {event: order, as: first, times: 2+}\n"
        "    - {event: order, as: last, where: 'sku = first[1].sku'}\n"
        "  within: 24h\n"
        "send: {channel: sms, content: {body: '{{ first.sku }}, then {{ last.sku }} for {{ last.amount }}'}}\n"
    )
    said = flowops("preview", "steps", "--project", shop, "--event", "first.sku=A", "--event", "amount=7").stdout
    assert "A, then [sku] for 7" in said


def test_what_the_past_decides_is_told_to_be_not_judged(shop: Path) -> None:
    """And is judged where the past cannot change it: `u2` is not in the segment, whatever was done."""
    (shop / "rules" / "again.yaml").write_text(
        "plan: again\n"
        "audience: {segments: [vip], did: {event: order, times: 2+, within: 30d}, did_not: {event: order, within: 1d}}\n"
        "trigger: {event: order}\n"
        "send: {channel: sms, content: {body: Again}}\n"
    )

    def previewed(*arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(flowops("preview", "again", "--project", shop, "--json", *arguments).stdout)
        return answer

    answer = previewed("--user", "u1")
    assert answer["unjudged"] == "in vip, did order 2+ times within 30d, did not order within 1d"
    assert answer["losses"] == []
    said = flowops("preview", "again", "--project", shop, "--user", "u1").stdout
    assert (
        "not judged: the audience (in vip, did order 2+ times within 30d, did not order within 1d) asks what the user did"
        in said
    )
    assert "`flowops explain --user u1 --plan again` judges it" in said
    answer = previewed("--user", "u2")
    assert answer["unjudged"] is None
    assert answer["losses"][0] == ["not_in_audience", "in vip, did order 2+ times within 30d, did not order within 1d"]
    assert previewed()["unjudged"] is None
    assert shown(shop, "--user", "u1")["unjudged"] is None


def test_a_layer_is_given_or_the_audience_is_not_judged(shop: Path) -> None:
    """S12b: a profile does not say it; an audience that takes all layers is judged all the same."""
    text = (shop / "flowops.yaml").read_text()
    layers = "layers:\n  cycle: {event: order, layers: {active: {recency: 30d}, rest: {}}}\nchannels:\n"
    (shop / "flowops.yaml").write_text(text.replace("channels:\n", layers))
    send = "send: {channel: sms, content: {body: \"You are {{ user.cycle | default: 'new' }}\"}}\n"
    for name, where in (("active", "user.cycle = 'active'"), ("either", "user.cycle = 'active' or 1 = 1")):
        plan = f'plan: {name}\naudience: {{where: "{where}"}}\ntrigger: {{event: order}}\n{send}'
        (shop / "rules" / f"{name}.yaml").write_text(plan)

    def previewed(plan: str, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(flowops("preview", plan, "--project", shop, "--json", *arguments).stdout)
        return answer

    assert previewed("active", "--user", "u1")["unjudged"] == "user.cycle = 'active'"
    assert previewed("either", "--user", "u1")["unjudged"] is None
    answer = previewed("active", "--user", "u1", "--profile", "cycle=active")
    assert (answer["unjudged"], answer["losses"]) == (None, [])
    assert answer["messages"][0]["content"] == {"body": "You are active"}
    assert previewed("active", "--user", "u1", "--profile", "cycle=rest")["losses"][0][0] == "not_in_audience"
    (shop / "flowops.yaml").write_text(text)
    for name in ("active", "either"):
        (shop / "rules" / f"{name}.yaml").unlink()


def test_a_plan_that_is_not_there_is_guessed(shop: Path) -> None:
    assert "did you mean `thanks`?" in refused(2, "preview", "thank", "--project", shop)
