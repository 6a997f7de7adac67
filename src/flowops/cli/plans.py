"""The plan that a verb is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowops.errors import ConfigError, RuleError

if TYPE_CHECKING:
    from flowops.core.plan import Plan, Project
    from flowops.rules.config import Config


class Compiled(NamedTuple):
    """A project that compiled."""

    folder: Path
    project: Project
    config: Config


def plan_of(folder: Path | None, plan: str) -> tuple[Compiled, Plan]:
    """The project of a command, and its plan with this id.

    Raises ConfigError where there is none, RuleError where the project does not compile.
    """
    from flowops.rules.findings import has_errors, render
    from flowops.rules.load import find_project, load_project
    from flowops.settings.guess import one_of

    loaded = load_project(find_project(Path.cwd()) if folder is None else folder)
    if loaded.project is None or loaded.config is None:
        wrong = [finding for finding in loaded.findings if has_errors([finding])]
        raise RuleError(f"the project does not compile\n{render(wrong)}")
    found = next((each for each in loaded.project.plans if each.id == plan), None)
    if found is None:
        hint = one_of(plan, [each.id for each in loaded.project.plans])
        raise ConfigError(f"there is no plan `{plan}`\n  try: {hint}")
    return Compiled(loaded.folder, loaded.project, loaded.config), found
