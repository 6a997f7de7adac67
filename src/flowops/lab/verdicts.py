"""All tests of a project, run: what failed, what came instead and why, and what no case reached."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flowops.lab.compare import Difference, Row, differences
from flowops.lab.coverage import Coverage, cover, coverage_of, merged
from flowops.lab.rehearsal import Outcome, rehearse
from flowops.lab.story import Scene, Teller
from flowops.rules.check_test import CheckedCase, CheckedTest
from flowops.rules.load import Loaded
from flowops.rules.schema_test import Contains

_ALSO = {"triggers": "key", "dispatches": "channel", "losses": "loss", "goals": "goal", "pending": "kind"}
"""What is told of something that came, beside when and whose it is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one case. `stories`: by user, of those that a difference concerns; of all where they were asked for."""

    path: str
    case: CheckedCase
    differences: list[Difference]
    stories: dict[str, list[Scene]]
    notes: list[str]
    teller: Teller

    @property
    def passed(self) -> bool:
        """Whether all came as expected."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class Report:
    """Of all cases that were run."""

    verdicts: list[Verdict]
    coverages: list[Coverage]

    @property
    def failed(self) -> list[Verdict]:
        """Those that did not pass."""
        return [each for each in self.verdicts if not each.passed]


def run_tests(loaded: Loaded, tests: Sequence[CheckedTest], *, tell: bool = False) -> Report:
    """Run the cases. `tell`: with the story of each user, also of cases that pass."""
    if loaded.file is None:
        raise ValueError("a project that cannot be read has no tests")
    types = loaded.file.attributes
    properties = {name: event.properties for name, event in loaded.file.events.items()}
    verdicts: list[Verdict] = []
    coverages: list[Coverage] = []
    for test in tests:
        teller = Teller(test.project, test.plans, types, properties)
        covered = coverage_of(test.project, test.plans)
        for case in test.cases:
            outcome = rehearse(test, case)
            cover(test.project, test.plans, covered, outcome)
            wrong = differences(case, outcome)
            users = _users(outcome, wrong, all_of_them=tell)
            stories = {user: teller.story(user, outcome.facts, outcome.told) for user in users}
            notes = [
                f"line {each.line}: a receipt of no message: {each.user} got none before" for each in outcome.unanswered
            ]
            verdicts.append(Verdict(test.path, case, wrong, stories, notes, teller))
        coverages += covered
    return Report(verdicts, merged(coverages))


def _users(outcome: Outcome, wrong: Sequence[Difference], *, all_of_them: bool) -> list[str]:
    """Whose story is worth telling: those of a difference; everybody's, where one names nobody."""
    everybody = sorted({row.user for row in outcome.told.values()} - _led(outcome))
    named: set[str | None] = {row["user"] for each in wrong for row in each.unexpected}
    named |= {wish.keys.get("user") for each in wrong for wish in each.missing}
    if all_of_them or None in named:
        return everybody
    return [user for user in everybody if not named.isdisjoint(Teller.names(user, outcome.told))]


def _led(outcome: Outcome) -> set[str]:
    """The ids that lead to a user, whose story has theirs."""
    return {row.name for row in outcome.told.values() if row.kind == "identities"}


def words(verdict: Verdict) -> list[str]:
    """A case that failed, as lines of text: what was expected, what came instead, and why."""
    reader = verdict.teller.readers[0]
    lines = []
    for each in verdict.differences:
        came = dict(enumerate(each.unexpected))
        lines.append(f"{each.key}: {_count(each)}")
        for number, wish in enumerate(each.missing):
            lines.append(f"  expected  {_wish(wish.keys, reader.time)} (line {wish.line})")
            if number in came and any(key in came[number] for key in wish.keys):
                lines.append(f"  came      {_row(each.key, came[number], reader.time, wish.keys)}")
                del came[number]
        lines += [f"  came      {_row(each.key, row, reader.time, ())}" for row in came.values()]
    lines += verdict.notes
    for user, story in verdict.stories.items():
        lines.append(f"{'what happened to' if verdict.passed else 'why,'} {user}:")
        lines += [f"  {line}" for line in verdict.teller.words(story)] or ["  nothing concerns it"]
    return lines


def data(report: Report) -> dict[str, Any]:
    """All of it, for programs. Times are local to the plan, with their offset."""
    return {
        "cases": [
            {
                "test": each.path,
                "case": each.case.name,
                "place": each.case.place,
                "passed": each.passed,
                "differences": [
                    {
                        "key": difference.key,
                        "missing": [
                            {**_plain(wish.keys, each.teller), "line": wish.line} for wish in difference.missing
                        ],
                        "unexpected": [_plain(row, each.teller) for row in difference.unexpected],
                    }
                    for difference in each.differences
                ],
                "notes": each.notes,
                "stories": {user: each.teller.data(story) for user, story in each.stories.items()},
            }
            for each in report.verdicts
        ],
        "coverage": [{"plan": each.plan, "of": len(each.all), "missing": each.missing} for each in report.coverages],
        "passed": len(report.verdicts) - len(report.failed),
        "failed": len(report.failed),
    }


def _count(each: Difference) -> str:
    parts = []
    if each.missing:
        parts.append(f"{len(each.missing)} expected did not come")
    if each.unexpected:
        parts.append(f"{len(each.unexpected)} came unexpected")
    return ", ".join(parts)


def _wish(keys: Any, time: Any) -> str:
    return " ".join(f"{name.removeprefix('content.')}={_shown(name, value, time)}" for name, value in keys.items())


def _row(key: str, row: Row, time: Any, asked: Collection[str]) -> str:
    """What came: when, whose, and what of it was asked for; else all of a message."""
    names = ["at", "user", _ALSO[key], *asked]
    if not asked and key == "dispatches":
        names += [name for name in row if name.startswith("content.")]
    if key == "losses":
        names.append("detail")
    shown = {name: row[name] for name in dict.fromkeys(names) if row.get(name) is not None}
    lacking = {name: None for name in asked if row.get(name) is None}
    return _wish({**shown, **lacking}, time)


def _shown(name: str, value: Any, time: Any) -> str:
    if name == "at" and value is not None:
        return f"'{time(value)}'"
    if isinstance(value, Contains):
        return f"(contains {value.contains!r})"
    if isinstance(value, float):
        return f"{value:g}"
    return "nothing" if value is None else repr(value) if name.startswith("content.") else str(value)


def _plain(keys: Any, teller: Teller) -> dict[str, Any]:
    def one(name: str, value: Any) -> Any:
        if name == "at" and isinstance(value, int):
            return teller.iso(value)
        return {"contains": value.contains} if isinstance(value, Contains) else value

    return {name: one(name, value) for name, value in keys.items()}


def lines_of(coverages: Sequence[Coverage]) -> Iterator[str]:
    """What no case reached, a line for each plan that lacks something."""
    for each in coverages:
        if each.missing:
            yield f"{each.plan}: {len(each.all) - len(each.missing)} of {len(each.all)} reached; not: " + "; ".join(
                each.missing
            )
