"""Texts: how long an SMS is, what is banned, and that what lint cannot know is refused at the decision (S33)."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_examples import unfold

from flowops.errors import ContentError
from flowops.rules.load import load_project
from flowops.rules.texts import banned_pattern, sms_length, spoken


@pytest.mark.parametrize(
    ("text", "units", "limit"),
    [
        ("", 0, 160),
        ("a" * 160, 160, 160),
        ("Grüße @ £5\n", 11, 160),
        ("{~} €", 9, 160),  # of the extension: an escape and the character
        ("Zoë", 3, 70),  # ë is in neither table
        ("您好", 2, 70),
        ("您好🎁", 4, 70),  # beyond the first plane: two units of UTF-16
        ("`", 1, 70),
    ],
)
def test_an_sms_is_measured_in_the_units_of_its_alphabet(text: str, units: int, limit: int) -> None:
    length = sms_length(text)
    assert (length.units, length.limit) == (units, limit)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("全网最低价", "最"),
        ("我们是第一", "第一"),
        ("第 一", None),
        ("the Best offer", "Best"),
        ("bestow", None),
        ("Thebest", None),
        ("最best", "最"),
        ("买best", "best"),  # no letter of a script that writes words apart stands before it
        ("c++ is free", "c++"),
    ],
)
def test_a_banned_word_is_a_whole_word_where_its_script_has_words(text: str, found: str | None) -> None:
    pattern = banned_pattern(("最", "第一", "best", "c++"))
    assert pattern is not None
    match = pattern.search(text)
    assert (match and match[0]) == found


def test_only_what_a_message_can_show_is_read() -> None:
    """The places stay, so that a finding points at the word."""
    text = "a {% if user.best == 'x' %}b{% endif %}{{ best | default: 'our best' }}{% comment %}best{% endcomment %}"
    seen = spoken(text)
    assert len(seen) == len(text)
    assert seen.split() == ["a", "x", "b", "our", "best"]
    assert seen.index("our best") == text.index("our best")


PROJECT = """\
### flowops.yaml
flowops: 1
project: shop
zone: Asia/Shanghai
sources:
  web: {file: data/web.csv, fields: {user_id: uid, event: type}}
  crm: {kind: profiles, file: data/customers.csv, fields: {user_id: id}}
events:
  view: {properties: {sku: string, price: money, category: string}}
profile: {first_name: string}
channels:
  sms: {type: console, limit: sms}
  push: {type: file, path: out/push.jsonl}
banned_words: [free]
### rules/reminder.yaml
plan: reminder
trigger: {event: view}
send: {channel: CHANNEL, content: {body: "{{ view.sku }}"}}
"""


def render(folder: Path, channel: str, sku: str) -> dict[str, str]:
    example = folder / "example"
    example.write_text(PROJECT.replace("CHANNEL", channel), encoding="utf-8")
    loaded = load_project(unfold(example, folder / "shop"))
    assert loaded.findings == []
    assert loaded.project is not None
    (plan,) = loaded.project.plans
    return plan.step.content[None](((sku,),), (), 0, None)


def test_a_message_that_its_values_make_too_long_is_not_sent(tmp_path: Path) -> None:
    """S33: `content_invalid` at the decision, by the channel's `limit`; another channel takes it."""
    assert render(tmp_path, "sms", "王" * 70) == {"body": "王" * 70}
    with pytest.raises(ContentError, match="`body` has 71 UCS-2 units, and an SMS holds 70"):
        render(tmp_path, "sms", "王" * 71)
    assert render(tmp_path, "push", "王" * 71) == {"body": "王" * 71}


def test_a_banned_word_that_a_value_brings_is_not_sent(tmp_path: Path) -> None:
    """S33."""
    assert render(tmp_path, "push", "Freedom") == {"body": "Freedom"}
    with pytest.raises(ContentError, match="`body` has the banned word `FREE`"):
        render(tmp_path, "push", "all FREE")


def test_a_change_of_banned_words_is_another_version(tmp_path: Path) -> None:
    """A decision may come out otherwise, so the plan is another."""
    versions = []
    for number, word in enumerate(("free", "cheap")):
        example = tmp_path / f"{number}.txt"
        example.write_text(PROJECT.replace("CHANNEL", "push").replace("[free]", f"[{word}]"), encoding="utf-8")
        project = load_project(unfold(example, tmp_path / str(number))).project
        assert project is not None
        versions.append(project.plans[0].version)
    assert versions[0] != versions[1]
