"""`flowops new`: a plan to begin with."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowops.cli.options import AsJson, Project, Verbose

if TYPE_CHECKING:
    from flowops.rules.schema_project import ProjectFile


def command(
    scenario: Annotated[str | None, typer.Argument(help="Left out: list the scenarios.", show_default=False)] = None,
    name: Annotated[str | None, typer.Argument(help="The new plan's id; left out: the scenario's name.")] = None,
    channel: Annotated[str | None, typer.Option(metavar="NAME", help="Left out: the project's first.")] = None,
    event: Annotated[
        list[str] | None,
        typer.Option("--event", metavar="ROLE=EVENT", help="What an event is called in this project. Repeatable."),
    ] = None,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Write a plan for a scenario into rules/NAME.yaml, with the project's events and channel, and its test beside."""
    from flowops.errors import ConfigError
    from flowops.rules.editors import FOLDER
    from flowops.rules.scenarios import SCENARIOS, fill, fill_test, lacking, silent, unknown_attributes
    from flowops.settings.guess import one_of

    if scenario is None:
        _list(as_json=as_json)
        return
    if scenario not in SCENARIOS:
        raise ConfigError(f"there is no scenario `{scenario}`\n  try: {one_of(scenario, SCENARIOS)}")
    folder, file, ids = _project(project)
    plan = name or scenario
    path = folder / "rules" / f"{plan}.yaml"
    test = folder / "rules" / f"{plan}.test.yaml"
    _free(plan, path, test, ids)
    names = _names(scenario, event or [])
    channel = channel or next(iter(file.channels))
    if channel not in file.channels:
        raise ConfigError(f"there is no channel `{channel}`\n  try: {one_of(channel, file.channels)}")
    missing, attributes = lacking(scenario, file, names), unknown_attributes(scenario, file)
    if missing or attributes:
        raise ConfigError(_undeclared(scenario, missing, attributes, names))
    if quiet := silent(scenario, file, names):
        raise ConfigError(
            f"no source of flowops.yaml gives `{quiet[0]}`; nothing was written\n  try: add the source that has it"
        )
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(fill(scenario, plan, file, channel, names), encoding="utf-8")
        test.write_text(fill_test(scenario, plan, file, channel, names), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    if as_json:
        answer = {"plan": plan, "written": str(path), "test": str(test)}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(
            f"wrote {path}\nwrote {test}\n"
            f"Next: change them, then `flowops lint`, `flowops test {plan}` and `flowops preview {plan}`.\n"
        )
        if not (folder / FOLDER).is_dir():
            sys.stdout.write("`flowops schema` writes the schemas that both files name, for editors.\n")


def _list(*, as_json: bool) -> None:
    from flowops.rules.scenarios import SCENARIOS, about

    told = {name: about(name) for name in SCENARIOS}
    if as_json:
        sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{name:<18}{text}\n" for name, text in told.items()))


def _project(project: Path | None) -> tuple[Path, ProjectFile, set[str]]:
    """The folder, what flowops.yaml says, and the ids that are taken. Other plans may be wrong meanwhile."""
    from flowops.errors import RuleError
    from flowops.rules.findings import render
    from flowops.rules.load import PROJECT_FILE, find_project, load_project

    loaded = load_project(find_project(Path.cwd() if project is None else project))
    if loaded.file is None:
        wrong = [finding for finding in loaded.findings if finding.path == PROJECT_FILE]
        raise RuleError(f"{PROJECT_FILE} cannot be read\n{render(wrong)}")
    return loaded.folder, loaded.file, {plan.file.plan for plan in loaded.plans}


def _free(plan: str, path: Path, test: Path, ids: set[str]) -> None:
    from pydantic_core import PydanticCustomError

    from flowops.errors import ConfigError
    from flowops.settings.fields import parse_name

    try:
        parse_name(plan)
    except PydanticCustomError as error:
        hint = (error.context or {}).get("hint")
        raise ConfigError(f"{error.message()}\n  try: {hint}") from None
    if path.exists() or plan in ids:
        raise ConfigError(f"there already is a plan `{plan}`; nothing was written\n  try: another name")
    if test.exists():
        raise ConfigError(f"there already is {test}; nothing was written\n  try: another name")


def _names(scenario: str, events: list[str]) -> dict[str, str]:
    """The events of the project by their roles in the scenario."""
    from flowops.errors import ConfigError
    from flowops.rules.scenarios import SCENARIOS
    from flowops.settings.guess import one_of

    names = {}
    for text in events:
        role, equals, event = text.partition("=")
        if not equals or not event:
            raise ConfigError(
                f"--event takes ROLE=EVENT, got {text!r}\n  try: --event {next(iter(SCENARIOS[scenario].events))}=NAME"
            )
        if role not in SCENARIOS[scenario].events:
            raise ConfigError(f"{scenario} has no event `{role}`\n  try: {one_of(role, SCENARIOS[scenario].events)}")
        names[role] = event
    return names


def _undeclared(
    scenario: str, missing: Mapping[str, Mapping[str, str]], attributes: Mapping[str, str], names: Mapping[str, str]
) -> str:
    """What to add to flowops.yaml."""
    from flowops.rules.scenarios import SCENARIOS

    said = [f"{scenario} needs what flowops.yaml does not declare; nothing was written"]
    if attributes:
        said.append("  try: under `profile:`, add or change")
        said += [f"    {name}: {type_}" for name, type_ in attributes.items()]
    if missing:
        said.append("  try: under `events:`, add or complete")
        for event, properties in missing.items():
            inside = ", ".join(f"{name}: {type_}" for name, type_ in properties.items())
            said.append(f"    {json.dumps(event, ensure_ascii=False)}: {{properties: {{{inside}}}}}")
        roles = [r for r, wanted in SCENARIOS[scenario].events.items() if names.get(r, wanted.usual) in missing]
        said.append(f"  or: say what it is called here: {' '.join(f'--event {role}=NAME' for role in roles)}")
    return "\n".join(said)
