"""`flowops lint`: every finding about the project's rule files, at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flowops.cli.options import AsJson, Project, Verbose
from flowops.settings.counted import counted

if TYPE_CHECKING:
    from flowops.rules.check_test import Tests
    from flowops.rules.findings import Finding
    from flowops.rules.load import Loaded


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Rule files, or folders of them, whose findings to show; left out: all of the project.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Literal["text", "json", "github", "sarif"],
        typer.Option("--format", help="How to print findings; github: annotations, sarif: for code scanning."),
    ] = "text",
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Check every rule file, tests too; exit 1 if something must be changed.

    The project is always read as a whole, since its files name each other; with FILEs only theirs is shown.
    """
    from flowops.errors import ConfigError
    from flowops.rules.check_test import read_tests
    from flowops.rules.findings import has_errors, ordered, render_json
    from flowops.rules.formats import render_github, render_sarif
    from flowops.rules.load import find_project, load_project

    for file in files or []:
        if not file.exists():
            raise ConfigError(f"{file}: there is no such file")
    folder = find_project(_start(files or [])) if project is None else project
    loaded = load_project(folder)
    shown = [_place_in(loaded.folder, file) for file in files or []]
    tests = read_tests(loaded)
    everything = ordered([*loaded.findings, *tests.findings])
    findings = [each for each in everything if not shown or any(_is_of(each.path, place) for place in shown)]
    if as_json or form == "json":
        sys.stdout.write(render_json(findings) + "\n")
    elif form == "sarif":
        sys.stdout.write(render_sarif(findings, below=_below(loaded.folder)) + "\n")
    elif form == "github":
        sys.stdout.write(render_github(findings, below=_below(loaded.folder)))
    elif shown:
        _print_some(findings, files or [], len(everything) - len(findings))
    else:
        _print(loaded, tests, findings, verbose=verbose)
    if has_errors(findings):
        raise typer.Exit(1)


def _start(files: list[Path]) -> Path:
    """Where the project is looked for: the folder of the first file, or the one at hand."""
    if not files:
        return Path.cwd()
    return files[0] if files[0].is_dir() else files[0].absolute().parent


def _place_in(folder: Path, file: Path) -> str:
    """The file, or folder, as findings of the project name it. Raises ConfigError for what is no rule file of it."""
    from flowops.errors import ConfigError
    from flowops.rules.load import PROJECT_FILE, SUFFIXES

    try:
        place = file.resolve().relative_to(folder.resolve())
    except ValueError:
        raise ConfigError(
            f"{file} is not in the project {folder}\n  try: the files of one project at a time, or `--project DIR`"
        ) from None
    is_rule = place.parts[:1] == ("rules",) and (file.is_dir() or file.suffix in SUFFIXES)
    if place.parts and place.as_posix() != PROJECT_FILE and not is_rule:
        raise ConfigError(
            f"{file} is no rule file: these are {PROJECT_FILE} and rules/**/*.yaml of {folder}\n"
            "  try: `flowops lint` without a file checks them, and the data that they name"
        )
    return place.as_posix()


def _is_of(path: str, place: str) -> bool:
    return place in (".", path) or path.startswith(f"{place}/")


def _print_some(findings: list[Finding], files: list[Path], elsewhere: int) -> None:
    from flowops.rules.findings import render

    if findings:
        errors = sum(finding.severity == "error" for finding in findings)
        sys.stdout.write(
            f"{render(findings)}\n{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}\n"
        )
    else:
        sys.stdout.write(f"{', '.join(map(str, files))}: fine\n")
    if elsewhere:
        sys.stdout.write(f"{counted(elsewhere, 'finding')} in other files of the project: `flowops lint` shows all\n")


def _print(loaded: Loaded, tests: Tests, findings: list[Finding], *, verbose: bool) -> None:
    from flowops.rules.findings import render

    if findings:
        sys.stdout.write(render(findings) + "\n")
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    total = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
    if loaded.project is None:
        sys.stdout.write(f"{total}\n")
    else:
        plans = ", ".join(plan.id for plan in loaded.project.plans) if verbose else ""
        files = f" and {counted(len(tests.checked), 'test')}" if tests.checked else ""
        fine = f"{counted(len(loaded.project.plans), 'plan')}{files} fine" + (f" ({plans})" if plans else "")
        sys.stdout.write(f"{fine}; {total}\n" if findings else f"{fine}\n")


def _below(folder: Path) -> str:
    """The project as seen from where the command runs, with its slash; nothing where it is not below."""
    try:
        way = folder.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return ""
    return "" if way == "." else f"{way}/"
