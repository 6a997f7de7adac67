"""`flowops explain`: why a user got a message, or did not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowops.cli.options import AsJson, Inputs, Project, Until, Verbose

if TYPE_CHECKING:
    from flowops.lab.explain import Explanation


def command(
    user: Annotated[str, typer.Option("--user", metavar="ID", help="Whose story.")],
    plan: Annotated[str, typer.Option("--plan", metavar="PLAN", help="Of which plan.")],
    inputs: Inputs = None,
    until: Until = None,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Tell the whole story of a user and a plan: each record that mattered, what it began and ended, each check.

    The files of the sources are run again through the engine, for this user alone; nothing is sent and nothing is kept.
    """
    from flowops.cli.plans import loaded_plan, moment_of
    from flowops.lab.explain import explain
    from flowops.rules.load import find_project

    loaded, found = loaded_plan(find_project(Path.cwd()) if project is None else project, plan)
    told = explain(loaded, found, user, inputs or [], None if until is None else moment_of(until, found.zone))
    if as_json:
        sys.stdout.write(json.dumps(_data(told), ensure_ascii=False, indent=2) + "\n")
    else:
        _print(told)


def _data(told: Explanation) -> dict[str, object]:
    return {
        "plan": told.plan.id,
        "version": told.plan.version,
        "user": told.user,
        "records": told.records,
        "story": told.teller.data(told.story),
        "pending": [
            {"kind": row.kind, "since": told.teller.iso(row.since), "due": told.teller.iso(row.due)}
            for row in told.pending
        ],
        "not_read": told.not_read,
    }


def _print(told: Explanation) -> None:
    reader = told.teller.readers[told.plan.index]
    lines = [f"{told.plan.id} {told.plan.version}, user {told.user}: {told.records} records"]
    if told.not_read:
        lines.append(f"not read, being no files: {', '.join(told.not_read)}; a log of them is given by --input")
    lines += told.teller.words(told.story)
    for row in told.pending:
        lines.append(f"still waits ({row.kind}), since {reader.time(row.since)}, until {reader.time(row.due)}")
    if not told.records:
        lines.append("nothing of this user is in the inputs: never entered")
    elif not any("triggers" in line for scene in told.story for line in scene.then if isinstance(line, str)):
        lines.append("it never triggered" + (", so far" if told.pending else ""))
    sys.stdout.write("\n".join(lines) + "\n")
