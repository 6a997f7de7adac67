"""`flowops schema`: JSON Schemas for editors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flowops.cli.options import AsJson, Project, Verbose


def command(
    kind: Annotated[
        Literal["project", "plan", "test", "policy", "template"] | None,
        typer.Argument(help="Print this one; left out: write all of them.", show_default=False),
    ] = None,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Write JSON Schemas of flowops.yaml, plans, tests, policies and templates into the folder schema/, for editors.

    Rule files point there: `# yaml-language-server: $schema=../schema/plan.json`.
    """
    from flowops.errors import ConfigError
    from flowops.rules.editors import text_of, write_schemas
    from flowops.rules.load import find_project

    if kind is not None:
        sys.stdout.write(text_of(kind))
        return
    folder = find_project(Path.cwd() if project is None else project)
    try:
        written = write_schemas(folder)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror or error}") from error
    if as_json:
        sys.stdout.write(json.dumps({"written": [str(path) for path in written]}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(f"wrote {path}\n" for path in written))
