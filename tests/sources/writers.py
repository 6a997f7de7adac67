"""Writes messages that name a schema, with the serializers that producers use, against a real registry."""

from __future__ import annotations

import json

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

DRAFT = {"$schema": "http://json-schema.org/draft-07/schema#"}
_CONF = {"subject.name.strategy": topic_subject_name_strategy}


class Writers:
    """Serializers for one topic."""

    def __init__(self, registry, topic: str) -> None:
        self.client = SchemaRegistryClient({"url": registry.url, "timeout": 10})
        self._topic = topic

    def close(self) -> None:
        self.client.close()

    def avro(self, schema, *records, field=MessageField.VALUE, references=()) -> list[bytes]:
        """The records as values (or keys) of the topic; the schema is registered."""
        given = Schema(json.dumps(schema), "AVRO", list(references))
        write = AvroSerializer(self.client, given, conf=_CONF)
        return [write(record, SerializationContext(self._topic, field)) for record in records]

    def json(self, schema, *records, references=()) -> list[bytes]:
        """As `avro`, by a JSON Schema."""
        text = json.dumps(DRAFT | schema)
        write = JSONSerializer(Schema(text, "JSON", list(references)), self.client, conf=_CONF)
        return [write(record, SerializationContext(self._topic, MessageField.VALUE)) for record in records]

    def register(self, subject: str, schema, kind: str = "AVRO", *, references=()) -> int:
        return self.client.register_schema(subject, Schema(json.dumps(schema), kind, list(references)))

    def reference(self, name: str, subject: str) -> SchemaReference:
        return SchemaReference(name, subject, 1)


def record(name: str, /, **fields) -> dict:
    """A schema of Avro: the fields' types, a list being a union."""
    return {
        "type": "record",
        "name": name,
        "fields": [
            {"name": key, "type": type_, **({"default": None} if isinstance(type_, list) else {})}
            for key, type_ in fields.items()
        ],
    }


def logical(type_: str, name: str, **more) -> dict:
    return {"type": type_, "logicalType": name, **more}
