"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Project: TypeAlias = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="The project's folder; left out: the nearest flowops.yaml upwards."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Say more; show tracebacks.")]
Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[SOURCE=]FILE",
        help="A log instead of the sources' own files; profiles and segments are read besides. Repeatable.",
    ),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option(metavar="T", help="Let time go on until then: a date, or a local time.")
]
PlanId: TypeAlias = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id.", show_default=False)]
