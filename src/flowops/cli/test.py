"""`flowops test`: the tests beside the plans."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowops.cli.options import AsJson, Project, Verbose
from flowops.settings.counted import counted

if TYPE_CHECKING:
    from flowops.lab.verdicts import Report
    from flowops.rules.check_test import CheckedTest, Tests
    from flowops.rules.findings import Finding

LOOKS_EVERY = 0.3
"""Seconds between two looks at the files."""


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Plans or test files; left out: all.", show_default=False),
    ] = None,
    coverage: Annotated[bool, typer.Option("--coverage", help="List what no case reached.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Test again whenever a file changes, until Ctrl-C.")] = False,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run the tests beside the plans (rules/NAME.test.yaml); exit 1 if a case fails.

    A case that fails says what was expected, what came instead, and why, step by step; with -v every case does.
    """
    from flowops.errors import RuleError
    from flowops.rules.load import find_project

    folder = find_project(Path.cwd() if project is None else project)
    if not watch:
        if not _once(folder, names or [], coverage=coverage, as_json=as_json, verbose=verbose):
            raise typer.Exit(1)
        return
    seen: dict[Path, tuple[int, int]] | None = None
    try:
        while True:
            now = _files(folder)
            if now != seen:
                seen = now
                try:
                    _once(folder, names or [], coverage=coverage, as_json=as_json, verbose=verbose)
                except RuleError as error:  # in the middle of a change
                    sys.stdout.write(f"{error}\n")
                if not as_json:
                    sys.stdout.write(f"-- {time.strftime('%H:%M:%S')}, waiting for changes --\n")
                sys.stdout.flush()
            time.sleep(LOOKS_EVERY)
    except KeyboardInterrupt:
        return


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """What is watched, each with what tells a change: (time, size)."""
    from flowops.rules.load import PROJECT_FILE, SUFFIXES

    paths = [folder / PROJECT_FILE, *(path for path in (folder / "rules").rglob("*") if path.suffix in SUFFIXES)]
    seen = {}
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # just removed
            continue
        seen[path] = (status.st_mtime_ns, status.st_size)
    return seen


def _once(folder: Path, names: list[str], *, coverage: bool, as_json: bool, verbose: bool) -> bool:
    """Run them once; whether all is well."""
    from flowops.errors import RuleError
    from flowops.lab.verdicts import data, run_tests
    from flowops.rules.check_test import read_tests
    from flowops.rules.findings import has_errors, render
    from flowops.rules.load import load_project

    loaded = load_project(folder)
    if loaded.project is None or loaded.file is None:
        wrong = [finding for finding in loaded.findings if has_errors([finding])]
        raise RuleError(f"the project does not compile\n{render(wrong)}")
    tests = read_tests(loaded)
    chosen, findings = _choose(folder, tests, names, [plan.id for plan in loaded.project.plans])
    report = run_tests(loaded, chosen, tell=verbose)
    if as_json:
        answer = data(report)
        answer["findings"] = [{"place": each.place, "code": each.code, "what": each.what} for each in findings]
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")
    else:
        _print(report, findings, coverage=coverage, verbose=verbose)
    return not report.failed and not has_errors(findings)


def _choose(folder: Path, tests: Tests, names: list[str], plans: list[str]) -> tuple[list[CheckedTest], list[Finding]]:
    """The tests that were asked for, and what is wrong with test files. Raises ConfigError for a name that is none."""
    from flowops.errors import ConfigError
    from flowops.settings.guess import one_of

    if not names:
        return tests.checked, tests.findings
    broken = {each.path for each in tests.findings}
    chosen: dict[str, CheckedTest] = {}
    shown: set[str] = set()
    for name in names:
        path = Path(name).resolve()
        way = path.relative_to(folder.resolve()).as_posix() if path.is_relative_to(folder.resolve()) else name
        found = [each for each in tests.checked if each.path in (name, way)]
        found = found or [each for each in tests.checked if any(plan.file.plan == name for plan in each.plans)]
        wrong = {each for each in broken if each in (name, way, f"rules/{name}.test.yaml")}
        if not found and not wrong:
            if name in plans:
                raise ConfigError(f"the plan `{name}` has no test\n  try: write rules/{name}.test.yaml")
            raise ConfigError(f"there is no plan and no test file `{name}`\n  try: {one_of(name, plans)}")
        chosen |= {each.path: each for each in found}
        shown |= wrong
    return list(chosen.values()), [each for each in tests.findings if each.path in shown | set(chosen)]


def _print(report: Report, findings: list[Finding], *, coverage: bool, verbose: bool) -> None:
    from flowops.lab.verdicts import lines_of, words
    from flowops.rules.findings import render

    lines: list[str] = []
    if findings:
        lines.append(render(findings))
    for each in report.verdicts:
        if each.passed and not verbose:
            continue
        lines.append(f"{each.case.place}: {'passed' if each.passed else 'FAILED'}: {each.case.name}")
        lines += [f"  {line}" for line in words(each)]
    passed = len(report.verdicts) - len(report.failed)
    summary = f"{passed} passed" + (f", {len(report.failed)} failed" if report.failed else "")
    if not report.verdicts and not findings:
        summary = "there are no tests: a test is a file rules/NAME.test.yaml"
    broken = len({each.path for each in findings if each.severity == "error"})
    if broken:
        summary += f", {counted(broken, 'file')} with errors {'was' if broken == 1 else 'were'} not run"
    uncovered = list(lines_of(report.coverages))
    if coverage:
        lines += uncovered or ["every step, loss, message and goal is reached"]
    elif uncovered and report.verdicts:
        missing = sum(len(each.missing) for each in report.coverages)
        every = sum(len(each.all) for each in report.coverages)
        summary += (
            f"; {every - missing} of {every} steps, losses, messages and goals reached (--coverage lists the rest)"
        )
    lines.append(summary)
    sys.stdout.write("\n".join(lines) + "\n")
