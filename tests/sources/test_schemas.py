"""Topics whose messages name a schema, on a real broker and a real registry (S1, S2, S3, S6)."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from confluent_kafka.serialization import MessageField
from kit import source
from logs import WHERE, KafkaLog, Reading, fresh, view
from writers import DRAFT, Writers, logical, record

from flowops.errors import ConfigError
from flowops.settings.schema_registry import SchemaRegistry
from flowops.settings.secrets import parse_filled
from flowops.sources import schemas
from servers.process import HOST, free_ports
from servers.registry import Registry
from servers.skip import running

VIEW = record("View", user_id="string", event="string", ts="long", sku="string", price=["null", "double"])
JSON_VIEW = {
    "title": "View",
    "type": "object",
    "properties": {"user_id": {"type": "string"}, "ts": {"type": "integer"}, "price": {"type": ["number", "null"]}},
    "required": ["user_id", "event", "ts"],
}


def one(number: int, **more) -> dict:
    """As `logs.view`, as Python values."""
    return {
        "user_id": f"u{number}",
        "event": "view",
        "ts": number * 1_000_000,
        "sku": f"s{number}",
        "price": 1.5,
        **more,
    }


def row(number: int, sku: str | None = None, price: float | None = 1.5) -> tuple:
    return (f"u{number}", "view", None, number * 1_000_000, sku or f"s{number}", price)


class Topic(KafkaLog):
    """A topic in a format, and what writes to it."""

    def __init__(self, broker, registry, format_: str) -> None:
        super().__init__(broker)
        self.format = format_
        self.registry = registry
        self.write = Writers(registry, self.topic)
        self.opened: list = []

    def settings(self, **more):
        found = SchemaRegistry(url=[parse_filled(self.registry.url)], **more.pop("registry", {}))
        return super().settings(format=self.format, schema_registry=found, **more)

    def reading(self, where=WHERE, **more) -> Reading:
        self.opened.append(self.connect(where, **more).open(f"{self.topic}[0]", None))
        return Reading(self.opened[-1], where)

    def close(self) -> None:
        self.write.close()
        for partition in self.opened:
            partition.close()


@pytest.fixture
def topic(kafka_broker, schema_registry):
    """Makes topics; what was opened of them is closed in the end."""
    made: list[Topic] = []

    def make(format_: str = "avro", registry=schema_registry) -> Topic:
        made.append(Topic(kafka_broker, registry, format_))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    end = time.monotonic() + 15
    while any(thread.name.startswith("schemas-") for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.05)


def told(reading: Reading) -> list[tuple[int, str, str]]:
    return [(letter.position, letter.reason, letter.detail) for letter in reading.dead]


def test_two_schemas_in_one_topic_are_each_read_as_they_were_written(topic):
    """A field came, one went, one changed its type: by the names, as in JSON. Each schema is asked for once."""
    log = topic()
    later = record("View", event="string", user_id="string", sku="long", ts="long", campaign=["null", "string"])
    log.append(*log.write.avro(VIEW, one(0)))
    log.append(*log.write.avro(later, {"user_id": "u1", "event": "view", "ts": 1_000_000, "sku": 7, "campaign": "x"}))
    log.append(*log.write.avro(VIEW, one(2)))
    reading = log.reading()
    assert reading.rows_until(3) == [row(0), row(1, sku="7", price=None), row(2)]
    assert reading.positions == [0, 1, 2]


@pytest.mark.parametrize("format_", ["avro", "json_schema"])
def test_what_cannot_be_decoded_is_a_dead_letter_and_holds_nothing_up(topic, format_):
    """S3: no magic byte, too short, an unknown id, a schema of another kind, a record that does not fit its schema."""
    log = topic(format_)
    other = topic("json_schema" if format_ == "avro" else "avro")
    if format_ == "avro":
        good = log.write.avro(VIEW, one(0), one(1))
        alien = other.write.json(JSON_VIEW, one(0))[0]
        misfit = good[0][:-3]
        detail = "does not fit its schema"
    else:
        good = log.write.json(JSON_VIEW, one(0), one(1))
        alien = other.write.avro(VIEW, one(0))[0]
        misfit = good[0].replace(b'"ts":0', b'"ts":"soon"')
        detail = '`ts`: "soon" is not of type "integer"'
    unknown = b"\0\x7f\xff\xff\xff" + good[0][5:]
    log.append(good[0], view(9), b"\0\0", b"", unknown, alien, misfit, unknown, good[1])
    reading = log.reading()
    reading.rows_until(9)
    assert [found for found in reading.rows if found] == [row(0), row(1)]
    frame = "does not begin with a zero byte and the id of a schema"
    expected = [
        (1, "unparseable", frame),
        (2, "unparseable", frame),
        (3, "unparseable", frame),
        (4, "unknown_schema", "the registry has no schema 2147483647"),
        (5, "unknown_schema", "is one of "),
        (6, "schema_mismatch", detail),
        (7, "unknown_schema", "2147483647"),
    ]
    for (position, reason, what), (number, because, part) in zip(told(reading), expected, strict=True):
        assert (position, reason) == (number, because)
        assert part in what


def test_a_record_of_json_schema_is_read_as_json(topic):
    """Also what the schema does not speak of; what it allows and the plan does not is repaired as ever."""
    log = topic("json_schema")
    odd = {**one(1), "price": None, "sku": 5, "more": {"a": [1]}}
    log.append(*log.write.json(JSON_VIEW, one(0), odd, one(2, event=3)))
    reading = log.reading(dataclasses.replace(WHERE, event="view"))
    assert reading.rows_until(3) == [row(0), row(1, sku="5", price=None), row(2)]
    reading = log.reading()
    reading.rows_until(3)
    assert reading.rows[2] == ("u2", "3", None, 2_000_000, "s2", 1.5)


def test_a_schema_of_json_may_refer_to_others(topic):
    """By the name of the reference."""
    log = topic("json_schema")
    subject = fresh("price")
    log.write.register(subject, {**DRAFT, "title": "Price", "type": "number", "minimum": 0}, "JSON")
    properties = {**JSON_VIEW["properties"], "price": {"$ref": "price.json"}}
    schema = {**JSON_VIEW, "properties": properties}
    good, bad = log.write.json(schema, one(0), one(1), references=[log.write.reference("price.json", subject)])
    log.append(good, bad.replace(b"1.5", b"-15"))
    reading = log.reading()
    reading.rows_until(2)
    assert reading.rows == [row(0), None]
    assert "`price`: -15 is less than the minimum of 0" in reading.dead[0].detail


def test_a_schema_of_avro_may_refer_to_others(topic):
    """Over two steps, and to the same one twice."""
    log = topic()
    names = [fresh("money"), fresh("item")]
    money = {**record("Money", amount=logical("bytes", "decimal", precision=9, scale=2)), "namespace": "shop"}
    log.write.register(names[0], money)
    reference = log.write.reference("shop.Money", names[0])
    item = {**record("Item", cost="shop.Money"), "namespace": "shop"}
    log.write.register(names[1], item, references=[reference])
    whole = record("View", user_id="string", event="string", ts="long", item="shop.Item", paid="shop.Money")
    both = [log.write.reference("shop.Item", names[1]), reference]
    cost = {"amount": Decimal("12.34")}
    value = {"user_id": "u0", "event": "view", "ts": 0, "item": {"cost": cost}, "paid": cost}
    log.append(*log.write.avro(whole, value, references=both))
    where = source(columns={"cost": ("money", ("item", "cost", "amount")), "paid": ("money", ("paid", "amount"))})
    assert log.reading(where).rows_until(1) == [("u0", "view", None, 0, 12.34, 12.34)]


def test_a_tombstone_deletes_whom_its_key_names(topic):
    """S2: the key as text, as Avro, as a record of Avro; one that cannot be read is a dead letter."""
    log = topic()
    where = source(kind="profiles", columns={"tier": "string"})
    profile = record("Profile", user_id="string", ts="long", tier=["null", "string"])
    value = log.write.avro(profile, {"user_id": "u1", "ts": 5, "tier": "gold"})[0]
    plain = log.write.avro({"type": "string"}, "u2", field=MessageField.KEY)[0]
    whole = log.write.avro(record("Key", user_id="string"), {"user_id": "u3"}, field=MessageField.KEY)[0]
    keys = [b"u1", b"u1", plain, whole, b"\0\x7f\xff\xff\xff\0", None]
    log.append(value, None, None, None, None, None, keys=keys, ms=1_650_000_000_000)
    reading = log.reading(where)
    reading.rows_until(6)
    at = 1_650_000_000_000_000
    assert reading.rows[:4] == [("u1", "", None, 5, "gold"), *((f"u{n}", "", None, at, None) for n in (1, 2, 3))]
    assert [(position, reason) for position, reason, _ in told(reading)] == [
        (4, "unknown_schema"),
        (5, "missing_field"),
    ]


def test_a_time_too_far_ahead_of_the_broker_is_a_dead_letter(topic):
    """S3: as of JSON."""
    log = topic()
    where = dataclasses.replace(WHERE, max_future=600_000_000)
    log.append(*log.write.avro(VIEW, one(0), one(2_000_000)), ms=1_000)
    reading = log.reading(where)
    reading.rows_until(2)
    assert [(position, reason) for position, reason, _ in told(reading)] == [(1, "in_future")]


@pytest.mark.parametrize("end", ["stop", "pause"])
def test_a_registry_that_is_gone_is_waited_for(topic, monkeypatch, end):
    """S6: known schemas go on; with an unknown one the position stands still, and so does time; then all is read."""
    monkeypatch.setattr(schemas, "_TIMEOUT", 0.5)
    with running(Registry()) as registry:
        log = topic(registry=registry)
        known = log.write.avro(VIEW, *map(one, range(4)))
        new = log.write.avro(record("View", user_id="string", event="string", ts="long"), one(4))
        log.append(*known[:2])
        reading = log.reading()
        reading.rows_until(2)
        getattr(registry, end)()
        log.append(known[2], new[0], known[3])
        reading.until(lambda: not reading.partition.is_reachable())
        assert len(reading.rows) in (2, 3)
        stood = reading.partition.caught_up_at()
        assert reading.is_quiet(2)
        assert reading.partition.caught_up_at() == stood
        assert reading.partition.position()[0] < 4
        assert reading.partition.lag() > 0
        registry.start() if end == "stop" else registry.resume()
        reading.rows_until(5)
        assert reading.positions == [0, 1, 2, 3, 4]
        began = time.time_ns() // 1000
        reading.until(lambda: (reading.partition.caught_up_at() or 0) > began)
        assert reading.partition.is_reachable()
        assert reading.dead == []


def test_an_id_that_a_registry_has_not_heard_of_yet_is_asked_for_again(topic, monkeypatch):
    """The servers of one registry learn of a schema one after the other: the first 'no' is not believed."""
    log = topic()
    answers = []
    fetch = schemas._answer

    def late(ask, *what):
        answers.append(what)
        return None if len(answers) < 3 else fetch(ask, *what)

    monkeypatch.setattr(schemas, "_answer", late)
    log.append(*log.write.avro(VIEW, one(0)))
    assert log.reading().rows_until(1) == [row(0)]
    assert len(answers) == 3


# What is refused when a run begins


def refused(log: Topic, **more) -> str:
    with pytest.raises(ConfigError) as error:
        log.connect(**more).partitions()
    return str(error.value)


@pytest.mark.parametrize(
    ("format_", "package"), [("avro", "fastavro"), ("json_schema", "jsonschema_rs"), ("avro", "cachetools")]
)
def test_packages_that_are_not_installed_are_named(topic, monkeypatch, format_, package):
    """With what installs them."""
    for name in [name for name in sys.modules if name.startswith("confluent_kafka.schema_registry")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("avro", "json_schema", "schemas"):
        monkeypatch.delitem(sys.modules, f"flowops.sources.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    said = refused(topic(format_))
    assert f"source `web`: `format: {format_}` needs packages that are not installed" in said
    assert package in said
    assert "pip install 'flowops[schema-registry]'" in said


def test_a_registry_that_is_not_there_is_refused(topic, monkeypatch):
    """What is at another path, too; and options that are none."""
    monkeypatch.setattr(schemas, "_WAIT", 0.5)
    log = topic()
    real = log.registry

    class Elsewhere:
        url = f"http://{HOST}:{free_ports(1)[0]}"

    log.registry = Elsewhere
    said = refused(log)
    assert f"the schema registry at {Elsewhere.url} does not answer within 0.5 s (" in said
    Elsewhere.url = real.url.removesuffix("/apis/ccompat/v7")
    assert "is none, or not under this path (HTTP 404" in refused(log)
    log.registry = real
    assert "refuses its `options`: Unrecognized properties: ssl.cafile" in refused(
        log, registry={"options": {"ssl.cafile": parse_filled("x")}}
    )


def test_a_url_that_a_password_breaks_is_refused_without_its_words(topic, monkeypatch):
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2/")
    log = topic()

    class Broken:
        url = "https://shop:${REGISTRY_PASSWORD}@registry:8081"

    log.registry = Broken
    said = refused(log)
    assert f"`{Broken.url}` does not lead to a URL of a schema registry" in said
    assert "hunter2" not in said


def test_credentials_come_from_the_environment_and_are_sent(topic, monkeypatch):
    """And stand in no message."""
    heard = []

    class Guard(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    with HTTPServer((HOST, 0), Guard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log = topic()

        class Guarded:
            url = f"http://{HOST}:{server.server_port}"

        log.registry = Guarded
        options = {"basic.auth.user.info": parse_filled("shop:${REGISTRY_PASSWORD}")}
        said = refused(log, registry={"options": options})
        server.shutdown()
    assert "lets nobody in who asks like this (HTTP 401" in said
    assert "hunter2" not in said
    assert set(heard) == {"Basic c2hvcDpodW50ZXIy"}
