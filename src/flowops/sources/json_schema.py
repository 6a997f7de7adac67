"""Records of JSON that must fit the JSON Schema that they name. Nothing but the registry is ever asked for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from flowops.sources.schemas import PREFIX, Read, References, UnusableError
from flowops.sources.values import UnfitError


def json_read(schema: str, references: References) -> Read:
    """What checks a value by a schema and gives its JSON. Raises `UnusableError` for a schema that is none."""
    try:
        known = {name: msgspec.json.decode(text) for name, text in references}
        validator = jsonschema_rs.validator_for(
            msgspec.json.decode(schema), validate_formats=False, retriever=_retriever(known)
        )
    except (ValueError, jsonschema_rs.ReferencingError, msgspec.DecodeError, RecursionError) as error:
        raise UnusableError(f"is no JSON Schema: {error}") from None

    def read(value: bytes) -> bytes:
        data = value[PREFIX:]
        try:
            record = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return data  # what is wrong with it, the decoder says as of any JSON
        if not validator.is_valid(record):
            raise UnfitError("schema_mismatch", f"the record does not fit its schema: {_why(validator, record)}")
        return data

    return read


def _why(validator: Any, record: Any) -> str:
    error = next(validator.iter_errors(record))
    place = ".".join(map(str, error.instance_path))
    told = error.message if len(error.message) <= 200 else error.message[:197] + "..."
    return f"`{place}`: {told}" if place else told


def _retriever(known: Mapping[str, Any]) -> Any:
    """Finds what a schema refers to: by the name that the reference has in the registry, or that its path ends with."""

    def retrieve(uri: str) -> Any:
        for name, schema in known.items():
            if uri == name or uri.endswith("/" + name):
                return schema
        raise ValueError(f"`{uri}` is not among the references of the schema")

    return retrieve
