"""`flowops lint`: every finding about the project's rule files, at once."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from flowops.cli.options import AsJson, Project, Verbose


def command(project: Project = None, as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Check every rule file; exit 1 if something must be changed."""
    from flowops.rules.findings import has_errors, render, render_json
    from flowops.rules.load import find_project, load_project

    folder = find_project(Path.cwd()) if project is None else project
    loaded = load_project(folder)
    findings = loaded.findings
    if as_json:
        sys.stdout.write(render_json(findings) + "\n")
    else:
        if findings:
            sys.stdout.write(render(findings) + "\n")
        errors = sum(finding.severity == "error" for finding in findings)
        warnings = len(findings) - errors
        counted = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
        if loaded.project is None:
            sys.stdout.write(f"{counted}\n")
        else:
            plans = ", ".join(plan.id for plan in loaded.project.plans) if verbose else ""
            fine = f"{_count(len(loaded.project.plans), 'plan')} fine" + (f" ({plans})" if plans else "")
            sys.stdout.write(f"{fine}; {counted}\n" if findings else f"{fine}\n")
    if has_errors(findings):
        raise typer.Exit(1)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
