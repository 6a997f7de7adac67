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
PlanId: TypeAlias = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id.", show_default=False)]
