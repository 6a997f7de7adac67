"""`flowops replay` and `run` on topics whose messages name a schema: as of JSON (S1), and without the registry (S8)."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from project import lines_of, outcomes, replay, rows_of, started, times_of_a_day, wait_for, write_project

from servers.kafka import Broker
from servers.registry import Registry
from servers.skip import running

KINDS = ("web", "crm", "vip", "back")
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
DAY = {"type": "int", "logicalType": "date"}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}

AVRO: dict[str, dict[str, Any]] = {
    "web": {
        "event_id": {"type": "string", "logicalType": "uuid"}, "user_id": "string", "at": MILLIS,
        "event": {"type": "enum", "name": "Kind", "symbols": ["product_view", "order", "page"]},
        "properties": {"type": "record", "name": "Item", "fields": [
            {"name": "sku", "type": ["null", "string"]}, {"name": "price", "type": ["null", MONEY]},
            {"name": "amount", "type": ["null", MONEY]},
        ]},
    },
    "crm": {"user_id": "string", "at": MILLIS, "tier": ["null", "string"], "born": ["null", DAY]},
    "vip": {"user_id": "string", "at": MILLIS, "action": ["null", "string"]},
    "back": {
        "event_id": "string", "dispatch_id": "string", "at": MILLIS, "receipt": "string", "detail": ["null", "string"],
    },
}  # fmt: skip

FLOWOPS = """\
flowops: 1
project: shop
zone: Asia/Shanghai
sources:
  web: {{kafka: {{topic: web-{run}, {how}}}, fields: {{ts: {{path: at, unit: ms}}, event_id: event_id}}}}
  crm: {{kind: profiles, kafka: {{topic: crm-{run}, {how}}}, fields: {{ts: {{path: at, unit: ms}}, birthday: born}}}}
  vip: {{kind: segments, segment: vip, kafka: {{topic: vip-{run}, {how}}}, fields: {{ts: {{path: at, unit: ms}}}}}}
  back:
    kind: receipts
    kafka: {{topic: back-{run}, {how}}}
    fields: {{ts: {{path: at, unit: ms}}, event_id: event_id}}
events:
  product_view: {{properties: {{sku: string, price: money}}}}
  order: {{properties: {{sku: string, amount: money}}}}
profile: {{tier: string, birthday: date}}
channels:
  push: {{type: file, path: out/push.jsonl, receipts: {{undelivered_after: 1h}}}}
"""

PLAN = """\
plan: reminder
audience: {where: "user.tier = 'gold' and user.birthday < date '1990-01-01'", segments: [vip]}
trigger: {event: product_view, where: price >= 10.01, without: order, within: 1h}
send: {channel: push, content: {title: "{{ product_view.sku }}", body: "{{ product_view.price }}"}}
goals:
  - {goal: ordered, event: order, within: 6h, value: amount}
"""

Records = dict[str, list[dict[str, Any]]]


def records_of_a_day() -> Records:
    """As JSON has them."""
    web = []
    for number, line in enumerate(lines_of(times_of_a_day(4000), 60)):
        one = json.loads(line)
        properties = {"sku": one["sku"], "price": one["price"] if number % 7 else None, "amount": one["amount"]}
        web.append({
            "event_id": f"00000000-0000-0000-0000-{number:012}", "user_id": one["user_id"], "event": one["event"],
            "at": one["ts"], "properties": properties,
        })  # fmt: skip
    first = min(each["at"] for each in web)
    crm = [
        {
            "user_id": f"u{n}",
            "at": first + n,
            "tier": [None, "gold", "gold", "silver"][n % 4],
            "born": f"19{50 + n % 50}-03-04",
        }
        for n in range(60)
    ]
    crm += [{"user_id": f"u{n}", "at": first + 40_000_000, "tier": None, "born": None} for n in range(0, 60, 9)]
    vip = [{"user_id": f"u{n}", "at": first + 5, "action": None if n % 2 else "enter"} for n in range(60) if n % 5]
    vip += [{"user_id": f"u{n}", "at": first + 50_000_000, "action": "leave"} for n in range(1, 60, 4)]
    return {"web": web, "crm": crm, "vip": vip, "back": []}


def as_avro(record: dict[str, Any]) -> dict[str, Any]:
    """The record as its serializer takes it: times, days and money as such."""
    made = dict(record)
    made["at"] = datetime.fromtimestamp(record["at"] / 1000, UTC)
    if made.get("born"):
        made["born"] = datetime.fromisoformat(made["born"]).date()
    if "properties" in made:
        cents = {key: made["properties"][key] for key in ("price", "amount")}
        exact = {key: None if cent is None else Decimal(str(cent)) for key, cent in cents.items()}
        made["properties"] = made["properties"] | exact
    return made


class Shop:
    """The topics of one format, and what writes to them."""

    def __init__(self, folder: Path, broker: Broker, registry: Registry, format_: str, run: str) -> None:
        self.broker = broker
        self.run = run
        self.format = format_
        self.registry = registry
        self.producer = broker.producer()
        how = f"brokers: '{broker.bootstrap}'"
        if format_ != "json":
            how += f", format: {format_}, schema_registry: {{url: '{registry.url}'}}"
        self.folder = write_project(folder, {"reminder": PLAN}, FLOWOPS.format(run=run, how=how))
        for kind in KINDS:
            broker.create_topic(f"{kind}-{run}", partitions=2)

    def values(self, kind: str, records: Sequence[dict[str, Any]]) -> list[bytes]:
        if self.format == "json":
            return [json.dumps(each).encode() for each in records]
        with closing(SchemaRegistryClient({"url": self.registry.url, "timeout": 10})) as client:
            return self._framed(client, kind, records)

    def _framed(self, client: SchemaRegistryClient, kind: str, records: Sequence[dict[str, Any]]) -> list[bytes]:
        conf = {"subject.name.strategy": topic_subject_name_strategy}
        context = SerializationContext(f"{kind}-{self.run}", MessageField.VALUE)
        if self.format == "avro":
            fields = [{"name": name, "type": type_} for name, type_ in AVRO[kind].items()]
            schema = {"type": "record", "name": kind.title(), "fields": fields}
            write = AvroSerializer(client, json.dumps(schema), conf=conf)
            return [write(as_avro(each), context) for each in records]
        text = {
            "$schema": "http://json-schema.org/draft-07/schema#", "title": kind, "type": "object",
            "properties": {"at": {"type": "integer"}, "tier": {"enum": [None, "gold", "silver"]}}, "required": ["at"],
        }  # fmt: skip
        serialize = JSONSerializer(Schema(json.dumps(text), "JSON"), client, conf=conf)
        return [serialize(each, context) for each in records]

    def write(self, records: Records) -> None:
        for kind, rows in records.items():
            for record, value in zip(rows, self.values(kind, rows), strict=True):
                user = record.get("user_id", "")
                self.producer.produce(f"{kind}-{self.run}", value=value, partition=len(user) % 2)
                self.producer.poll(0)
        assert self.producer.flush(60) == 0


def receipts_of(folder: Path) -> list[dict[str, Any]]:
    """What becomes of the messages of a run without receipts."""
    query = "select dispatch_id, epoch_ms(decided_at) from dispatches order by 1"
    found = []
    for number, (dispatch_id, at) in enumerate(rows_of(folder, query)):
        said = ["delivered", "clicked", "failed", None][number % 4]
        if said:
            found.append(
                {
                    "event_id": f"r{number}",
                    "dispatch_id": dispatch_id,
                    "at": at + 60_000,
                    "receipt": said,
                    "detail": None,
                }
            )
    return found


def test_the_same_records_have_the_same_outcomes_in_every_format(
    tmp_path: Path, kafka_broker: Broker, schema_registry: Registry, unique_name: str
) -> None:
    """S1: of all kinds of sources; times, days, money, an enum, a nested record, nulls."""
    records = records_of_a_day()
    shop = Shop(tmp_path / "first", kafka_broker, schema_registry, "json", f"{unique_name}-first")
    shop.write(records)
    replay(shop.folder)
    records["back"] = receipts_of(shop.folder)
    assert len(records["back"]) > 20
    seen = {}
    for format_ in ("json", "avro", "json_schema"):
        shop = Shop(tmp_path / format_, kafka_broker, schema_registry, format_, f"{unique_name}-{format_}")
        shop.write(records)
        replay(shop.folder)
        assert rows_of(shop.folder, "select * from dead_letters") == []
        found = outcomes(shop.folder)
        found["late"] = rows_of(shop.folder, "select count(*) from late")[0]  # rows name the topic
        seen[format_] = found
        stages = dict(rows_of(shop.folder, "select stage, count(*) from outcomes group by 1"))
        assert stages.get("delivered", 0) > 10, stages
    assert seen["avro"] == seen["json"]
    assert seen["json_schema"] == seen["json"]
    assert seen["json"]["goal_events"][0] > 0


def now() -> int:
    return time.time_ns() // 1_000_000


LIVE = """\
plan: reminder
trigger: {event: product_view, without: order, within: 4s}
send: {channel: push, content: {title: T, body: B}}
"""
LIVE_SCHEMA = {"user_id": "string", "at": MILLIS, "event": "string"}


def test_while_the_registry_is_gone_time_stands_still_and_nothing_is_lost(
    tmp_path: Path, kafka_broker: Broker, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8: an order waits in the log, which nobody can decode, and the reminder falls due. It is said once."""
    with running(Registry()) as registry:
        shop = Shop(tmp_path, kafka_broker, registry, "avro", unique_name)
        (shop.folder / "rules" / "reminder.yaml").write_text(LIVE)
        path = shop.folder / "flowops.yaml"
        path.write_text(path.read_text().replace("receipts: {undelivered_after: 1h}", "receipts: assumed"))

        def send(user: str, event: str, schema: dict[str, Any], partition: int = 0) -> None:
            monkeypatch.setitem(AVRO, "web", schema)
            record = {"user_id": user, "event": event, "at": now(), "event_id": f"{user}-{event}"}
            (value,) = shop.values("web", [record])
            shop.producer.produce(f"web-{unique_name}", value=value, partition=partition)
            assert shop.producer.flush(30) == 0

        def messages() -> list[str]:
            out = shop.folder / "out" / "push.jsonl"
            return sorted(json.loads(line)["user_id"] for line in out.read_text().splitlines()) if out.exists() else []

        with started(shop.folder, "--epoch", "0.3", verb="run") as process:
            send("u0", "product_view", LIVE_SCHEMA)
            assert wait_for(lambda: messages() == ["u0"], process), process.communicate()
            send("u1", "product_view", LIVE_SCHEMA)
            send("u2", "product_view", LIVE_SCHEMA, partition=1)
            os.killpg(process.pid, signal.SIGSTOP)
            send("u1", "order", {**LIVE_SCHEMA, "event_id": "string"}, partition=1)  # of a schema that is new
            registry.stop()
            os.killpg(process.pid, signal.SIGCONT)
            time.sleep(8)
            assert messages() == ["u0"]
            registry.start()
            assert wait_for(lambda: "u2" in messages(), process), process.communicate()
            send("u3", "product_view", LIVE_SCHEMA)
            assert wait_for(lambda: "u3" in messages(), process), process.communicate()
            process.send_signal(signal.SIGTERM)
            _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
        assert messages() == ["u0", "u2", "u3"]
    assert complaint.count("source waits for the schema registry") == complaint.count("source goes on") == 1, complaint
    assert rows_of(shop.folder, "select count(*) from late") == [(0,)]
    assert rows_of(shop.folder, "select count(*) from dead_letters") == [(0,)]
