"""Triggers of several events, from their YAML to the published outcomes, over processes and kills."""

from __future__ import annotations

import random
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from project import copy_of, flowops, outcomes, replay, rows_of, slowly, write_events, write_project

SEND = 'send: {channel: push, content: {title: T, body: "B"}}\n'
PLANS = {
    "steps": """\
plan: steps
trigger:
  sequence:
    - {event: product_view, as: viewed, times: 1..3}
    - {without: page, within: 5m}
    - {event: product_view, as: dearer, where: "price > viewed[1].price"}
    - any: [order, {event: product_view, as: cheap, where: price < 5}]
    - {without: order, within: 30m}
  within: 8h
  repeat: parallel
"""
    + SEND,
    "unfinished": """\
plan: unfinished
trigger:
  sequence: [{all: [product_view, page]}, {event: order, where: amount > product_view.price, within: 3h}]
  within: 4h
  unfinished: true
  strict: true
  repeat: restart
"""
    + SEND,
    "both": """\
plan: both
trigger: {all: [product_view, order], within: 2h, delay: {until: 20:00}}
"""
    + SEND,
    "either": """\
plan: either
trigger: {any: [{event: product_view, where: price < 1}, {event: order, where: amount < 1}], as: cheap}
send: {channel: push, content: {title: T, body: "{{ cheap.sku }}"}}
""",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("shop"), PLANS)
    text = (folder / "flowops.yaml").read_text(encoding="utf-8")
    (folder / "flowops.yaml").write_text(text.replace("  order:", "  page: {properties: {sku: string}}\n  order:"))
    write_events(folder, 20_000, 1_500, 4)
    assert replay(folder)["status"] == "finished"
    return folder


def test_each_plan_triggers_with_the_evidence_of_its_events_in_order(shop: Path) -> None:
    """S14, S15: first to last, as `triggers` has it for analysts."""
    times = dict(rows_of(shop, f"select event_id, ts from read_json('{shop}/data/*.jsonl')"))
    found = rows_of(shop, "select plan, evidence, epoch_ms(triggered_at) from triggers")
    counts = {plan: sum(each == plan for each, *_ in found) for plan in PLANS}
    assert min(counts.values()) > 20, counts
    for plan, evidence, triggered_at in found:
        at = [times[each] for each in evidence]
        assert all(first <= second for first, second in pairwise(at)), (plan, evidence)
        assert triggered_at == {"steps": at[-1] + 30 * 60_000, "unfinished": at[0] + 4 * 3_600_000}.get(plan, at[-1])


@pytest.mark.parametrize("processes", [2, 3])
def test_the_number_of_processes_changes_nothing(shop: Path, tmp_path: Path, processes: int) -> None:
    """S7."""
    folder = copy_of(shop, tmp_path / "shop")
    replay(folder, "--processes", str(processes))
    assert outcomes(folder) == outcomes(shop)


def test_kills_change_nothing(shop: Path, tmp_path: Path) -> None:
    """S7, S32: what is under way is in the state, wherever all of it dies."""
    folder = copy_of(shop, tmp_path / "shop")
    draw = random.Random(3)
    for point in ("append-torn", "rewrite-after", "append-after", "seal-before"):
        nth = draw.randint(1, 5 if point == "seal-before" else 60)
        done = flowops("replay", "--project", folder, "--epoch", "0.05", env=slowly(0.01, fault=f"{point}:{nth}"))
        assert done.returncode == -signal.SIGKILL, point
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)
