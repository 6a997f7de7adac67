"""The base of every model of the language: what a file's mapping is read into."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic_core import CoreSchema

from flowops.settings.fields import as_text

TEXT, MAPPING = "<text>", "<mapping>"
"""Tags of a union of a word and a mapping. Every tag of a union stands in angle brackets: see `is_tag`."""


class Reading(ABC):
    """One pass over one document, given to pydantic as the context: what is told of keys that a model does not have."""

    @abstractmethod
    def known(self, data: Any, model: type[Model]) -> Any:
        """The mapping without the keys that were complained of."""


class Model(BaseModel):
    """A mapping of the language. `place` names its row in the rules' table of keys for later."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore", arbitrary_types_allowed=True)

    place: ClassVar[str | None] = None

    reach: ClassVar[frozenset[str]] = frozenset()
    """Keys that only say how something is reached, or where it lies: a run goes on where they were changed."""

    def declared(self) -> dict[str, Any]:
        """All that it says, in order, but for those keys, here and below."""
        names = [name for name in type(self).model_fields if name not in self.reach]
        return {name: self._declared(name, getattr(self, name)) for name in names}

    def _declared(self, name: str, value: Any) -> Any:
        if isinstance(value, Model):
            return value.declared()
        if isinstance(value, dict) and all(isinstance(each, Model) for each in value.values()):
            return [(key, each.declared()) for key, each in value.items()]
        return self.model_dump(mode="json", include={name})[name]

    @classmethod
    def keys(cls) -> list[str]:
        """The keys as they are written."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def examples(cls, key: str) -> Sequence[Any]:
        """Values that a key may have, as editors show them."""
        fields = cls.model_fields.items()
        return next((field.examples or () for name, field in fields if key in (field.alias, name)), ())

    @classmethod
    def siblings(cls) -> frozenset[str]:
        """The keys of models that may stand in its place."""
        return frozenset()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """For editors: a key that the model does not have is a mistake."""
        schema = handler(core_schema)
        handler.resolve_ref_schema(schema).setdefault("additionalProperties", False)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _read_keys(cls, data: Any, info: ValidationInfo) -> Any:
        return info.context.known(data, cls) if isinstance(info.context, Reading) else data


def text_or_mapping(value: Any) -> str:
    """The discriminator of what may be a word or a mapping, so that only the one that was meant complains."""
    return TEXT if isinstance(value, str) else MAPPING


def is_tag(step: object) -> bool:
    """Whether a step of pydantic's places is the tag of a union, which the file does not have."""
    return isinstance(step, str) and step.startswith("<") and step.endswith(">")


Word = BeforeValidator(as_text)
"""Put before a `Literal`, so that a mapping or list in its place is told as such."""
