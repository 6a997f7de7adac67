"""The plan that a verb is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowops.errors import ConfigError, RuleError

if TYPE_CHECKING:
    from flowops.core.plan import Plan, Project
    from flowops.core.records import Micros
    from flowops.core.time import Zone
    from flowops.rules.check import CheckedPlan
    from flowops.rules.config import Config
    from flowops.rules.load import Loaded
    from flowops.rules.schema_project import ProjectFile


class Compiled(NamedTuple):
    """A project that compiled."""

    folder: Path
    project: Project
    config: Config
    file: ProjectFile
    checked: CheckedPlan  # the plan that was asked for


def compiled_plans(folder: Path | None, ids: Sequence[str]) -> tuple[Loaded, list[Plan]]:
    """The project of a command, which compiled, and its plans with these ids; without any, all of them.

    Raises ConfigError where there is none, RuleError where the project does not compile.
    """
    from flowops.rules.findings import has_errors, render
    from flowops.rules.load import find_project, load_project
    from flowops.settings.guess import one_of

    loaded = load_project(find_project(Path.cwd()) if folder is None else folder)
    if loaded.project is None or loaded.config is None or loaded.file is None:
        wrong = [finding for finding in loaded.findings if has_errors([finding])]
        raise RuleError(f"the project does not compile\n{render(wrong)}")
    known = {plan.id: plan for plan in loaded.project.plans}
    for plan in ids:
        if plan not in known:
            raise ConfigError(f"there is no plan `{plan}`\n  try: {one_of(plan, known)}")
    return loaded, [known[plan] for plan in ids] or list(loaded.project.plans)


def loaded_plan(folder: Path | None, plan: str) -> tuple[Loaded, Plan]:
    """As `compiled_plans`, of one plan."""
    loaded, (found,) = compiled_plans(folder, [plan])
    return loaded, found


def moment_of(until: str, zone: Zone) -> Micros:
    """What `--until` says, local to `zone` if it has no offset. Raises ConfigError for a text that is no time."""
    from pydantic_core import PydanticCustomError

    from flowops.settings.fields import parse_moment

    try:
        return parse_moment(until).begins(zone)
    except PydanticCustomError as error:
        raise ConfigError(
            f"--until takes a date or a local time, got {until!r}: write it like 2022-04-30 or 2022-04-30T12:00"
        ) from error


def plan_of(folder: Path | None, plan: str) -> tuple[Compiled, Plan]:
    """As `loaded_plan`, with what the plan was compiled from."""
    loaded, found = loaded_plan(folder, plan)
    if loaded.project is None or loaded.config is None or loaded.file is None:
        raise AssertionError("a project of which a plan was found did not compile")
    checked = next(each for each in loaded.plans if each.file.plan == plan)
    return Compiled(loaded.folder, loaded.project, loaded.config, loaded.file, checked), found
