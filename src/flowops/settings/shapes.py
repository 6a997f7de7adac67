"""How values are written, as JSON Schema: what editors are told of a type (`flowops schema`).

Editors read YAML with types, where `3` is a number and `true` a boolean, and flowops reads every plain word as text: so
a text may be any of them. A schema is wider than the reader, never narrower: ranges and names that must lead somewhere
are the business of `flowops lint`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

Shape: TypeAlias = dict[str, Any]

TEXT: Shape = {"type": ["string", "number", "boolean"]}
DURATION: Shape = {
    "type": "string", "minLength": 2, "pattern": r"^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
}  # fmt: skip
OFFSET: Shape = {**DURATION, "pattern": "^[+-]?" + DURATION["pattern"].removeprefix("^")}
INTEGER: Shape = {"type": ["integer", "string"], "pattern": "^[+-]?[0-9]+$"}
NUMBER: Shape = {"type": ["number", "string"], "pattern": r"^[+-]?[0-9]+(\.[0-9]+)?$"}
SHARE: Shape = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$"}
BOOLEAN: Shape = {"enum": [True, False, "true", "false"]}
CLOCK: Shape = {"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$"}
MOMENT: Shape = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}.*)?$"}
NAME: Shape = {"type": ["string", "number", "boolean"], "pattern": r"^[^\s,:#{}\[\]'\"]{1,100}$"}
_ENV: Shape = {**TEXT, "description": "A name of the environment.", "examples": ["PUSH_TOKEN"]}
_FILE: Shape = {**TEXT, "description": "The path of a file that holds it.", "examples": ["/run/secrets/push"]}
SECRET: Shape = {
    "anyOf": [
        TEXT,
        {"type": "object", "required": ["env"], "properties": {"env": _ENV}, "additionalProperties": False},
        {"type": "object", "required": ["file"], "properties": {"file": _FILE}, "additionalProperties": False},
    ]
}


@dataclass(frozen=True, slots=True, eq=False)  # a type is hashed with what is annotated
class Shaped:
    """Put into an `Annotated`: `shape` instead of what the Python type would say; with `beside`, or what it says."""

    shape: Shape
    beside: bool = False

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Shape:
        """Called by pydantic when a schema is made."""
        return {"anyOf": [self.shape, handler(core_schema)]} if self.beside else dict(self.shape)


class _OrOne:
    """Put into an `Annotated` of a list that may be left to its one item."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Shape:
        """Called by pydantic when a schema is made."""
        many = handler(core_schema)
        return {"anyOf": [many["items"], many]}


OR_ONE = _OrOne()


def says(description: str, *examples: Any) -> Any:
    """What an editor says of a key: a sentence or two, and examples of its value."""
    return Field(description=description, examples=list(examples))
