"""`flowops explain`: why a user got a message, or did not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowops.cli.options import AsJson, Inputs, Project, Until, Verbose
from flowops.settings.counted import counted

if TYPE_CHECKING:
    from flowops.lab.explain import Explanation
    from flowops.lab.happened import Joined
    from flowops.rules.load import Loaded
    from flowops.warehouse.history import History


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
    Where the project has run, what its outcomes have is told with it: receipts, goals, and where they say otherwise.
    """
    from flowops.cli.plans import loaded_plan, moment_of
    from flowops.lab.explain import explain
    from flowops.lab.happened import join
    from flowops.rules.load import find_project

    loaded, found = loaded_plan(find_project(Path.cwd()) if project is None else project, plan)
    told = explain(loaded, found, user, inputs or [], None if until is None else moment_of(until, found.zone))
    happened = None if inputs else _outcomes(loaded, plan, told.names)
    joined = None if happened is None else join(told, happened)
    if as_json:
        sys.stdout.write(json.dumps(_data(told, happened, joined), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(told, happened, joined)) + "\n")


def _outcomes(loaded: Loaded, plan: str, users: Iterable[str]) -> History | None:
    """What the project's runs did; None where there was none."""
    from flowops.warehouse.history import history
    from flowops.warehouse.outcomes import connect, published

    if loaded.config is None or not published(loaded.config.warehouse):
        return None
    connection = connect(loaded.config.warehouse)
    try:
        return history(connection, plan, users)
    finally:
        connection.close()


def _data(told: Explanation, happened: History | None, joined: Joined | None) -> dict[str, object]:
    iso = told.teller.iso

    def waiting(kind: str, since: int, due: int) -> dict[str, str]:
        return {"kind": kind, "since": iso(since), "due": iso(due)}

    outcomes: dict[str, object] | None = None
    if happened is not None and joined is not None:
        outcomes = {
            "versions": joined.versions,
            "upto": None if happened.upto is None else iso(happened.upto),
            "decisions": joined.decisions,
            "receipts": joined.receipts,
            "goals": joined.goals,
            "only_there": joined.only_there,
            "only_here": joined.only_here,
            "pending": [waiting(*each) for each in happened.waiting],
        }
    return {
        "plan": told.plan.id,
        "version": told.plan.version,
        "user": told.user,
        "records": told.records,
        "outcomes": outcomes,
        "story": told.teller.data(told.story if joined is None else joined.story),
        "pending": [waiting(row.kind, row.since, row.due) for row in told.pending],
        "not_read": told.not_read,
    }


def _lines(told: Explanation, happened: History | None, joined: Joined | None) -> Iterator[str]:
    time = told.teller.readers[told.plan.index].time
    yield f"{told.plan.id} {told.plan.version}, user {told.user}: {counted(told.records, 'record')}"
    if told.not_read:
        yield f"not read, being no files: {', '.join(told.not_read)}; what was in them, and why it led to what it did,"
        yield f"is told of a log: --input {told.not_read[0]}=FILE"
    if joined is not None:
        yield from _summary(told, joined)
    yield from told.teller.words(told.story if joined is None else joined.story)
    for row in told.pending:
        yield f"still waits ({row.kind}), since {time(row.since)}, until {time(row.due)}"
    if happened is not None and told.not_read:
        for kind, since, due in happened.waiting:
            yield f"waited when the engine last stopped ({kind}), since {time(since)}, until {time(due)}"
    if joined is not None and joined.decisions:
        return
    if not told.records:
        what = "of this user is in the inputs" if not told.not_read else "of this user is in the files that were read"
        yield f"nothing {what}" + ("" if told.not_read else ": never entered")
    elif not any("triggers" in line for scene in told.story for line in scene.then if isinstance(line, str)):
        yield "it never triggered" + (", so far" if told.pending else "")


def _summary(told: Explanation, joined: Joined) -> Iterator[str]:
    """What the outcomes have, and how far the inputs lead to the same."""
    counts = ((joined.decisions, "decision"), (joined.receipts, "receipt"), (joined.goals, "goal event"))
    parts = [counted(count, noun) for count, noun in counts if count]
    said = ", ".join(parts) or "nothing of this user and plan"
    marks = ((joined.only_there, "only there"), (joined.only_here, "only led to by the inputs"))
    apart = ", ".join(f"{count} {where}" for count, where in marks if count)
    same = "; the inputs lead to the same" if parts and not apart else ""
    yield f"the outcomes have {said}" + (f"; {apart}, marked below" if apart else same)
    others = [version for version in joined.versions if version != told.plan.version]
    if others:
        yield f"they are of version {', '.join(others)}; the checks below are those of the plan as it is now"
