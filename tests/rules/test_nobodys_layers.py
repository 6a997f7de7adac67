"""A layer of which lint says that nobody is in it is nobody's, whatever users do and however little is known of it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from flowops.core.counters import answer, layer_of, take
from flowops.core.plan import Layering, Lookback
from flowops.core.state import Tally
from flowops.rules.document import read_document
from flowops.rules.layers import CheckedLayering, read_layerings
from flowops.rules.schema import read_model
from flowops.rules.schema_project import ProjectFile

DAY = 24 * 60 * 60 * 1_000_000
PROJECT = """\
flowops: 1
project: shop
zone: UTC
sources: {web: {file: web.csv}}
events: {order: {properties: {amount: money}}}
channels: {push: {type: console}}
layers:
"""


def drawn(random: Random, name: str) -> list[str]:
    """A layering of some layers, each on a line of its own."""
    lines = [f"  {name}:", "    event: order", "    money: amount"]
    if random.random() < 0.7:
        lines.append(f"    within: {random.randint(1, 5)}d")
    lines.append("    layers:")
    for number in range(random.randint(2, 5)):
        asked = []
        if random.random() < 0.5:
            asked.append(f"recency: {random.randint(1, 6)}d")
        if random.random() < 0.6:
            asked.append(f"frequency: {random.choice(['1', '2', '1+', '2+', '3+', '0..1', '0..2', '1..2', '2..3'])}")
        if random.random() < 0.3:
            asked.append(f"money: {random.randint(1, 4)}+")
        lines.append(f"      layer{number}: {{{', '.join(asked)}}}")
    return lines


def reached(random: Random, layering: CheckedLayering) -> str | None:
    """The layer of a user who did something or other, as the engine has it."""
    measures = layering.measures()
    numbers = {measure.counter.kind: number for number, measure in enumerate(measures)}
    asked = tuple((name, layering.asked(layer, numbers, (0,))) for name, layer in layering.file.layers.items())
    tallies = [Tally(number) for number in range(len(measures))]
    for at in sorted(random.randint(0, 9 * DAY) // (DAY // 2) * (DAY // 2) for _ in range(random.randint(0, 6))):
        event_id, amount = str(random.random()), random.choice([None, -2.0, 0.0, 1.0, 2.0, 4.0])
        for measure, tally in zip(measures, tallies, strict=True):
            take(measure.counter, tally, at, at, event_id, amount)
    now, since = 9 * DAY, random.choice([None, -DAY, 0, 3 * DAY, 6 * DAY, 8 * DAY])

    def ask(look: Lookback) -> bool | None:
        return answer(look, measures[look.counter].counter, tallies[look.counter], now, since, by_timer=by_timer)

    by_timer = random.random() < 0.5
    return layer_of(Layering(0, asked), ask)


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_in_a_layer_of_nobody(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    lines = [line for number in range(100) for line in drawn(random, f"of{number}")]
    (tmp_path / "flowops.yaml").write_text(PROJECT + "\n".join(lines) + "\n")
    document = read_document(tmp_path, tmp_path / "flowops.yaml")
    project = read_model(ProjectFile, document, document.data())
    assert project is not None, document.findings
    layerings = read_layerings(project, document)
    first = PROJECT.count("\n") + 1
    told, of = set[tuple[str, str]](), ""
    findings = {each.line for each in document.findings if each.code == "FO409"}
    for number, line in enumerate(lines, first):
        of = line.strip(" :") if line.startswith("  of") else of
        if number in findings:
            told.add((of, line.split(":")[0].strip()))
    met = {(name, reached(random, layering)) for name, layering in layerings.items() for _ in range(300)}
    assert not told & met
    every = {(name, layer) for name, layering in layerings.items() for layer in layering.file.layers}
    assert len(every - met) * 0.6 < len(told) > 20
