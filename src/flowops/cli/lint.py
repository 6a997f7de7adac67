"""`flowops lint`: every finding about the project's rule files, at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flowops.cli.options import AsJson, Project, Verbose

if TYPE_CHECKING:
    from flowops.rules.check_test import Tests
    from flowops.rules.findings import Finding
    from flowops.rules.load import Loaded


def command(
    form: Annotated[
        Literal["text", "json", "github", "sarif"],
        typer.Option("--format", help="How to print findings; github: annotations, sarif: for code scanning."),
    ] = "text",
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Check every rule file, tests too; exit 1 if something must be changed."""
    from flowops.rules.check_test import read_tests
    from flowops.rules.findings import has_errors, ordered, render_json
    from flowops.rules.formats import render_github, render_sarif
    from flowops.rules.load import find_project, load_project

    folder = find_project(Path.cwd()) if project is None else project
    loaded = load_project(folder)
    tests = read_tests(loaded)
    findings = ordered([*loaded.findings, *tests.findings])
    if as_json or form == "json":
        sys.stdout.write(render_json(findings) + "\n")
    elif form == "sarif":
        sys.stdout.write(render_sarif(findings, below=_below(loaded.folder)) + "\n")
    elif form == "github":
        sys.stdout.write(render_github(findings, below=_below(loaded.folder)))
    else:
        _print(loaded, tests, findings, verbose=verbose)
    if has_errors(findings):
        raise typer.Exit(1)


def _print(loaded: Loaded, tests: Tests, findings: list[Finding], *, verbose: bool) -> None:
    from flowops.rules.findings import render

    if findings:
        sys.stdout.write(render(findings) + "\n")
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    counted = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    if loaded.project is None:
        sys.stdout.write(f"{counted}\n")
    else:
        plans = ", ".join(plan.id for plan in loaded.project.plans) if verbose else ""
        files = f" and {_count(len(tests.checked), 'test')}" if tests.checked else ""
        fine = f"{_count(len(loaded.project.plans), 'plan')}{files} fine" + (f" ({plans})" if plans else "")
        sys.stdout.write(f"{fine}; {counted}\n" if findings else f"{fine}\n")


def _below(folder: Path) -> str:
    """The project as seen from where the command runs, with its slash; nothing where it is not below."""
    try:
        way = folder.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return ""
    return "" if way == "." else f"{way}/"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
