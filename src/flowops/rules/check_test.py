"""Tests of plans against the project: names that lead somewhere, values of their types, times as instants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from flowops.core.admission import HOLDOUT, TREATMENT
from flowops.core.plan import KNOWN, SEGMENT, Experiment, Plan, Project
from flowops.core.records import Micros
from flowops.core.time import Zone
from flowops.rules.check import CheckedPlan
from flowops.rules.document import Document, Loc, read_document
from flowops.rules.findings import Finding, ordered
from flowops.rules.load import SUFFIXES, Loaded
from flowops.rules.mapping import events_of
from flowops.rules.schema import read_model
from flowops.rules.schema_project import ProjectFile
from flowops.rules.schema_test import Case, Contains, Expect, Line, TestFile
from flowops.settings.fields import Moment
from flowops.settings.guess import one_of
from flowops.sources.values import Clock, UnfitError, converters

TEST = ".test"
"""Ends the stem of a test's file: NAME.test.yaml."""

KEYS = ("triggers", "dispatches", "losses", "goals", "pending")
"""What may be expected."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of a case. `name` is the event, the receipt, the segment or the identity; `values` are typed."""

    kind: Literal["event", "receipt", "profile", "segment", "link"]
    at: Micros
    user: str
    name: str
    event_id: str | None
    values: Mapping[str, Any]
    enters: bool
    line: int
    of: str | None = None  # a receipt: of which step, or on which channel, its message is


@dataclass(frozen=True, slots=True)
class Wish:
    """One entry of what is expected: only these keys are compared. Times are instants."""

    keys: Mapping[str, Any]
    line: int


@dataclass(frozen=True, slots=True)
class CheckedCase:
    """A case, ready to be run."""

    name: str
    place: str  # path:line:column
    start: Micros | None
    profiles: Mapping[str, Mapping[str, Any]]
    happenings: Sequence[Happening]
    until: Micros | None
    expect: Mapping[str, Sequence[Wish]]


@dataclass(slots=True)
class CheckedTest:
    """A test file, ready to be run: on `project`, which has only the plans that it is about."""

    path: str
    project: Project
    plans: list[CheckedPlan]
    zone: Zone
    segments: Mapping[str, Sequence[str]]
    cases: list[CheckedCase] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tests:
    """All test files of a project. Those with errors are not among `checked`."""

    checked: list[CheckedTest]
    findings: list[Finding]


def read_tests(loaded: Loaded) -> Tests:
    """Read and check the test files of a project that was loaded.

    Where the project itself has errors, tests are only read: what is wrong with them may follow from these.
    """
    rules = loaded.folder / "rules"
    paths = sorted(path for path in rules.rglob("*") if _is_test(path)) if rules.is_dir() else []
    checked: list[CheckedTest] = []
    findings: list[Finding] = []
    for path in paths:
        document = read_document(loaded.folder, path)
        file = read_model(TestFile, document, document.data()) if document.root else None
        if file is not None and loaded.file is not None and loaded.project is not None:
            test = _Checker(loaded, loaded.file, document, file).run()
            if test is not None and not document.findings:
                checked.append(test)
        findings += document.findings
    return Tests(checked, ordered(findings))


def _is_test(path: Path) -> bool:
    return path.suffix in SUFFIXES and path.stem.endswith(TEST) and not path.name.startswith(".") and path.is_file()


class _Checker:
    def __init__(self, loaded: Loaded, project: ProjectFile, document: Document, file: TestFile) -> None:
        self.loaded = loaded
        self.project = project
        self.document = document
        self.file = file

    def run(self) -> CheckedTest | None:
        known = [plan.file.plan for plan in self.loaded.plans]
        for number, name in enumerate(self.file.test):
            if name not in known:
                self.document.report("FO701", ("test", number), f"there is no plan `{name}`", hint=one_of(name, known))
        if self.document.findings:
            return None
        project, plans = self.loaded.only(self.file.test)
        self.plans, self.compiled = plans, project.plans
        zones = {plan.zone for plan in plans}
        self.zone = zones.pop() if len(zones) == 1 else Zone(self.project.zone)
        self.convert = converters(None, Clock(self.zone))
        self.attributes = {name: attribute.type for name, attribute in self.project.profile.items()}
        for name, users in self.file.segments.items():
            self._segment(("segments", name), name, key=True)
            self._drawn(("segments", name), users)
        profiles = {
            user: self._typed(("profiles", user), values, self.attributes, "the profile", "attribute")
            for user, values in self.file.profiles.items()
        }
        self._drawn(("profiles",), self.file.profiles)
        self._arms()
        cases = [self._case(number, case, profiles) for number, case in enumerate(self.file.cases)]
        return CheckedTest(
            self.document.path, _pinned(project, self.file.arms), plans, self.zone, self.file.segments, cases
        )

    # What is known before

    def _arms(self) -> None:
        experiments = [plan.experiment for plan in self.compiled if plan.experiment is not None]
        for user, arm in self.file.arms.items():
            loc: Loc = ("arms", user)
            if not experiments:
                self.document.report_key("FO704", loc, "the plan has no experiment", hint="leave `arms` out")
            for experiment in experiments:
                arms = _arms_of(experiment)
                if arm not in arms:
                    what = f"`{arm}` is no arm of the experiment `{experiment.name}`"
                    self.document.report("FO704", loc, what, hint=one_of(arm, arms))

    def _drawn(self, loc: Loc, users: Iterable[str]) -> None:
        """Every user of a test with an experiment has an arm."""
        if all(plan.experiment is None for plan in self.compiled):
            return
        for user in users:
            if user not in self.file.arms:
                arm = _arms_of(next(plan.experiment for plan in self.compiled if plan.experiment is not None))[0]
                what = f"the arm of `{user}` would be drawn by a hash"
                report = self.document.report_key if loc == ("profiles",) else self.document.report
                place = (*loc, user) if loc == ("profiles",) else loc
                report("FO702", place, what, hint=f"say it: `arms: {{{user}: {arm}}}`")

    def _segment(self, loc: Loc, name: str, *, key: bool = False) -> None:
        asked = {each.removeprefix(SEGMENT) for plan in self.plans for each in _segments(plan)}
        if asked and name not in asked:
            report = self.document.report_key if key else self.document.report
            report("FO312", loc, f"the plan does not ask for the segment `{name}`", hint=one_of(name, sorted(asked)))

    def _typed(
        self, loc: Loc, values: Mapping[str, Any], types: Mapping[str, str], whose: str, noun: str
    ) -> dict[str, Any]:
        """Values as the engine would have them; each that is none of its type is reported where it stands."""
        typed: dict[str, Any] = {}
        for name, text in values.items():
            if name not in types:
                what = f"{whose} has no {noun} `{name}`"
                self.document.report_key("FO303", (*loc, name), what, hint=one_of(name, types))
                continue
            try:
                typed[name] = None if text is None else self.convert[types[name]](text)
            except UnfitError as error:
                what = f"`{name}` is {types[name]}: {error}"
                self.document.report("FO703", (*loc, name), what, text if isinstance(text, str) else None)
        return typed

    # Cases

    def _case(self, number: int, case: Case, profiles: Mapping[str, Mapping[str, Any]]) -> CheckedCase:
        loc: Loc = ("cases", number)
        merged = {user: dict(values) for user, values in profiles.items()}
        for user, values in case.profiles.items():
            typed = self._typed((*loc, "profiles", user), values, self.attributes, "the profile", "attribute")
            merged.setdefault(user, {}).update(typed)
        self._drawn((*loc, "profiles"), [user for user in case.profiles if user not in self.file.profiles])
        start = case.start.begins(self.zone) if case.start else None
        now, happenings = start, list[Happening]()
        for index, line in enumerate(case.events):
            now = self._at((*loc, "events", index, "at"), line.at, now)
            found = self._happening((*loc, "events", index), line, now)
            if found is not None:
                happenings.append(found)
        until = None if case.until is None else self._at((*loc, "until"), case.until, now)
        latest = max((each.at for each in happenings), default=None)
        if until is not None and latest is not None and until < latest:
            self.document.report("FO208", (*loc, "until"), "the case ends before its last line")
        if not case.events and until is None:
            self.document.report("FO102", loc, "nothing happens, and time stands still", hint="until: 2022-04-22")
        row, column = self.document.place((*loc, "name"))
        return CheckedCase(
            name=case.name,
            place=f"{self.document.path}:{row}:{column}",
            start=start,
            profiles=merged,
            happenings=happenings,
            until=until,
            expect=self._expect((*loc, "expect"), case.expect),
        )

    def _at(self, loc: Loc, at: Moment | Micros, before: Micros | None) -> Micros:
        if isinstance(at, Moment):
            return at.begins(self.zone)
        if before is None:
            hint = "write the first one out: `2022-04-21 10:00`"
            self.document.report("FO107", loc, "there is no line before that the time could be since", hint=hint)
        return (before or 0) + at

    def _happening(self, loc: Loc, line: Line, at: Micros) -> Happening | None:
        written = self.document.place(loc)[0]
        self._drawn((*loc, "user"), [line.user] if line.user not in self.file.profiles else [])
        values: dict[str, Any] = {}
        if line.event is not None:
            declared = self.project.events.get(line.event)
            if declared is None:
                hint = one_of(line.event, self.project.events)
                self.document.report("FO302", (*loc, "event"), f"the event `{line.event}` is not declared", hint=hint)
                return None
            if not any(events_of(source, [line.event]) for source in self.project.sources.values()):
                self.document.report("FO505", (*loc, "event"), f"no source produces the event `{line.event}`")
            place = (*loc, "properties")
            values = self._typed(place, line.properties, declared.properties, f"the event `{line.event}`", "property")
            return Happening("event", at, line.user, line.event, line.event_id, values, True, written)
        if line.profile is not None:
            values = self._typed((*loc, "profile"), line.profile, self.attributes, "the profile", "attribute")
            return Happening("profile", at, line.user, "profile", line.event_id, values, True, written)
        if line.receipt is not None:
            self._of(loc, line)
            return Happening("receipt", at, line.user, line.receipt, line.event_id, values, True, written, line.of)
        if line.identity is not None:
            if line.identity == line.user:
                self.document.report("FO704", (*loc, "identity"), f"`{line.user}` would lead to itself")
            return Happening("link", at, line.user, line.identity, line.event_id, values, True, written)
        segment, way = (line.enters, "enters") if line.enters is not None else (line.leaves or "", "leaves")
        self._segment((*loc, way), segment)
        return Happening("segment", at, line.user, segment, line.event_id, values, way == "enters", written)

    # What is expected

    def _expect(self, loc: Loc, expect: Expect) -> dict[str, list[Wish]]:
        wished: dict[str, list[Wish]] = {}
        for key in KEYS:
            entries = getattr(expect, key)
            if entries is not None:
                wished[key] = [self._wish((*loc, key, number), each) for number, each in enumerate(entries)]
        return wished

    def _wish(self, loc: Loc, entry: Any) -> Wish:
        keys: dict[str, Any] = {}
        for name in type(entry).model_fields:
            value = getattr(entry, name)
            if name not in entry.model_fields_set or value is None:
                continue
            if isinstance(value, Moment):
                value = value.begins(self.zone)
            keys[name] = value
        content = keys.pop("content", {})
        self._known(loc, keys, content)
        keys |= {f"content.{name}": value for name, value in content.items()}
        if not keys:
            self.document.report("FO102", loc, "nothing is said of it", hint="say at least one key: {user: u1}")
        return Wish(keys, self.document.place(loc)[0])

    def _of(self, loc: Loc, line: Line) -> None:
        """A receipt must be of a step, or of a channel, that the plan has."""
        steps = [step for plan in self.compiled for step in plan.messages]
        known = dict.fromkeys([*(step.name for step in steps), *(step.channel.name for step in steps)])
        if line.of is not None and line.of not in known:
            what = f"the plan has no step and no channel `{line.of}`"
            self.document.report("FO704", (*loc, "of"), what, hint=one_of(line.of, known))

    def _known(self, loc: Loc, keys: Mapping[str, Any], content: Mapping[str, str | Contains]) -> None:
        """Names that only the plan can have."""
        variants = [name for plan in self.compiled if plan.experiment for name in _arms_of(plan.experiment)]
        names = {
            "plan": [plan.id for plan in self.compiled],
            "goal": [goal.name for plan in self.compiled for goal in plan.goals],
            "step": [step.name for plan in self.compiled for step in plan.messages],
            "channel": [step.channel.name for plan in self.compiled for step in plan.messages],
            "variant": variants,
        }
        for name, known in names.items():
            if name in keys and keys[name] not in known:
                what = f"the plan has no {name} `{keys[name]}`"
                self.document.report("FO704", (*loc, name), what, hint=one_of(keys[name], dict.fromkeys(known)))
        fields = [
            name
            for plan in self.plans
            for message in plan.send.messages
            for texts in message.content.values()
            for name in texts
        ]
        for name in content:
            if name not in fields:
                own = ("at", "user", "plan", "key", "step", "channel", "variant", "address")
                hint = one_of(name, dict.fromkeys((*fields, *own)))
                self.document.report_key("FO704", (*loc, name), f"the message has no `{name}`", hint=hint)


def _segments(plan: CheckedPlan) -> Iterable[str]:
    return (name for name in plan.attributes() if name.startswith(SEGMENT) and name != KNOWN)


def _arms_of(experiment: Experiment) -> list[str]:
    arms = [name for name, _ in experiment.variants] or [TREATMENT]
    return [*arms, HOLDOUT] if experiment.holdout else arms


def _pinned(project: Project, arms: Mapping[str, str]) -> Project:
    """The project, with everyone in the arm that the test says."""

    def pin(plan: Plan) -> Plan:
        if plan.experiment is None:
            return plan
        return replace(plan, experiment=replace(plan.experiment, pinned=tuple(arms.items())))

    return replace(project, plans=tuple(pin(plan) for plan in project.plans))
