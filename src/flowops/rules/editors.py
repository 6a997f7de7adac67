"""JSON Schema (2020-12) of the files that operators write, for editors: made of the models that read them.

An editor completes keys, shows what each means, and marks what is none. What a schema cannot say (names that must lead
somewhere, ranges, keys that exclude each other) `flowops lint` says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from flowops.rules.schema_plan import PlanFile
from flowops.rules.schema_project import ProjectFile
from flowops.rules.schema_send import PolicyFile
from flowops.rules.schema_test import TestFile
from flowops.settings import shapes

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = "schema"
"""In a project: where the files lie to which the first lines of rule files point."""


def _template() -> dict[str, Any]:
    return {"type": "object", "minProperties": 1, "additionalProperties": shapes.TEXT}


SCHEMAS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "project": ("flowops.yaml", lambda: TypeAdapter(ProjectFile).json_schema()),
    "plan": ("A plan: rules/NAME.yaml", lambda: TypeAdapter(PlanFile).json_schema()),
    "test": ("A test of a plan: rules/NAME.test.yaml", lambda: TypeAdapter(TestFile).json_schema()),
    "policy": ("A policy: rules/policies/NAME.yaml", lambda: TypeAdapter(PolicyFile).json_schema()),
    "template": ("The texts of a message by field: rules/templates/NAME.yaml", _template),
}
"""By the name of the kind of file: its title, and what makes its schema."""


def schema_of(kind: str) -> dict[str, Any]:
    """The schema of a kind of file."""
    title, made = SCHEMAS[kind]
    schema: dict[str, Any] = _tidy(made())
    schema.pop("description", None)
    return {"$schema": DIALECT, "title": title, **schema}


def text_of(kind: str) -> str:
    """The schema as a file has it."""
    return json.dumps(schema_of(kind), ensure_ascii=False, indent=2) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write all schemas into the project's folder for them. Raises OSError."""
    (folder / FOLDER).mkdir(exist_ok=True)
    written = []
    for kind in SCHEMAS:
        path = folder / FOLDER / f"{kind}.json"
        path.write_text(text_of(kind), encoding="utf-8")
        written.append(path)
    return written


def modeline(kind: str, way: str) -> str:
    """The comment by which an editor finds the schema; `way`: from the file to the project's folder, as `../`."""
    return f"# yaml-language-server: $schema={way}{FOLDER}/{kind}.json"


_RULE = re.compile(r"(S\d+\w?(, )?)+\.")  # where a model's docstring only names its rule of docs/semantics.md


def _tidy(schema: Any) -> Any:
    """Without what pydantic adds for programs: titles, defaults (in units of ours), null, and what nothing can be."""
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in ("title", "default", "discriminator")}
    kept.pop("propertyNames", None)
    if _RULE.fullmatch(str(kept.get("description"))):
        del kept["description"]
    if "patternProperties" in kept:  # of names: that they are some, lint says in words
        (kept["additionalProperties"],) = kept.pop("patternProperties").values()
    for key in ("properties", "$defs"):
        if key in kept:
            below = {name: _tidy(each) for name, each in kept[key].items()}
            kept[key] = {name: each for name, each in below.items() if not _empty(each)}
    for key in ("items", "additionalProperties"):
        if key in kept:
            kept[key] = _tidy(kept[key])
    for key in ("anyOf", "oneOf"):
        if key not in kept:
            continue
        options = [_tidy(each) for each in kept.pop(key) if each != {"type": "null"}]
        options = [each for each in options if not _refused(each)]
        kept = {**options[0], **kept} if len(options) == 1 else {**kept, key: options}
    return kept


def _empty(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("not") == {}


def _refused(schema: Any) -> bool:
    return isinstance(schema, dict) and str(schema.get("$ref", "")).endswith("/_NoChannel")
