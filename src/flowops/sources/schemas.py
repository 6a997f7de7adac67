"""Messages that name a schema: a zero byte, the schema's id in a registry in four, then the record (Avro, JSON Schema).

Schemas are asked for by a thread, which lives only as long as one is wanted: the readers never wait for an answer. What
an id leads to never changes, so each is asked for once. A registry that does not answer is waited for; an id that it
does not know, or whose schema is none for this format, makes dead letters of its messages.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import msgspec
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from flowops.core.plan import Source
from flowops.core.records import Row
from flowops.errors import ConfigError
from flowops.settings.schema_registry import SchemaRegistry
from flowops.sources.decode import Bad, Decoder
from flowops.sources.values import UnfitError, as_id

_log = logging.getLogger(__name__)

PREFIX = 5
"""Bytes before the record: the magic byte and the id."""

_MAGIC = 0
_WAIT = 10.0  # seconds for the registry, when a run begins
_TIMEOUT = 5.0  # of one request
_AGAIN = 0.25  # seconds between two rounds of questions
_SURE = 1.0  # an id that is new may not have come to each server of a registry yet
_LONGING = 5.0  # a schema for which nobody has asked so long is no longer wanted
_NOT_THERE = {404, 40401, 40402, 40403}  # by a registry's own numbers: subject, version, schema
_REFUSES = {401, 403}

Read: TypeAlias = Callable[[bytes], Any]
"""The record of a message's value, as the decoder takes it. Raises `UnfitError`."""
References: TypeAlias = Sequence[tuple[str, str]]
"""(name, schema) of what a schema refers to; each after those to which it refers itself."""


class UnusableError(Exception):
    """A schema that this source cannot read with; the message says why."""


class _NoAnswerError(Exception):
    """The registry did not say; it will be asked again."""


class Schemas:
    """The schemas of one source's messages.

    `kind`: their type, as the registry calls it; `make` gives what reads by one, or raises `UnusableError`.
    """

    def __init__(
        self, source: str, settings: SchemaRegistry, kind: str, make: Callable[[str, References], Read]
    ) -> None:
        self.reads: dict[bytes, Read] = {}
        """By the first bytes of a message."""
        self.is_lost = False
        """Whether the registry does not answer."""
        self._source = source
        self._settings = settings
        self._kind = kind
        self._make = make
        self._lock = threading.Lock()
        self._wanted: dict[bytes, float | None] = {}  # and when the registry first said that it is not there
        self._thread: threading.Thread | None = None
        self._longed = 0.0

    def lack(self, prefixes: set[bytes]) -> bool:
        """Whether some of them are not known yet; they are asked for."""
        missing = {prefix for prefix in prefixes - self.reads.keys() if len(prefix) == PREFIX and prefix[0] == _MAGIC}
        if not missing:
            return False
        with self._lock:
            self._longed = time.monotonic()
            for prefix in missing - self.reads.keys():
                self._wanted.setdefault(prefix, None)
            if self._wanted and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._ask, name=f"schemas-{self._source}", daemon=True)
                self._thread.start()
        return True

    def check(self) -> None:
        """Raises ConfigError for a registry that does not answer within some seconds, or not to us."""
        end = time.monotonic() + _WAIT
        with self._client() as client:
            while True:
                try:
                    client.get_schema_types()
                except SchemaRegistryError as error:
                    reason = _told(error)
                    if error.http_status_code in _REFUSES:
                        raise self._refused(f"lets nobody in who asks like this ({reason})") from None
                    if error.http_status_code in _NOT_THERE:
                        raise self._refused(f"is none, or not under this path ({reason})") from None
                except Exception as error:  # noqa: BLE001 - of whichever HTTP client it stands on
                    reason = _told(error)
                else:
                    return
                if time.monotonic() > end:
                    raise self._refused(f"does not answer within {_WAIT:g} s ({reason})")
                time.sleep(_AGAIN)

    def _refused(self, what: str) -> ConfigError:
        return ConfigError(
            f"source `{self._source}`: the schema registry at {self._settings} {what}\n"
            "  try: check `url` and `options` under `schema_registry`"
        )

    @contextmanager
    def _client(self) -> Iterator[SchemaRegistryClient]:
        try:
            client = SchemaRegistryClient(self._settings.client_options(timeout=_TIMEOUT))
        except (ValueError, TypeError, OSError) as error:
            raise ConfigError(
                f"source `{self._source}`: the client of the schema registry refuses its `options`: {error}"
            ) from error
        try:
            yield client
        finally:
            client.close()

    # Beside the readers

    def _ask(self) -> None:
        while True:
            with self._lock:
                if time.monotonic() - self._longed > _LONGING:
                    self._wanted.clear()
                if not self._wanted:
                    self._thread = None
                    return
                wanted = dict(self._wanted)
            try:
                with self._client() as client:
                    self._ask_for(client, wanted)
            except (_NoAnswerError, ConfigError) as error:  # as of a secret that is just being replaced
                self._lost(str(error))
            if self._wanted:
                time.sleep(_AGAIN)

    def _ask_for(self, client: SchemaRegistryClient, wanted: Mapping[bytes, float | None]) -> None:
        for prefix, doubted in wanted.items():
            read = self._fetch(client, int.from_bytes(prefix[1:]), doubted)
            self._found()
            with self._lock:
                if read is None:
                    self._wanted[prefix] = doubted or time.monotonic()
                else:
                    self.reads[prefix] = read
                    self._wanted.pop(prefix, None)

    def _fetch(self, client: SchemaRegistryClient, number: int, doubted: float | None) -> Read | None:
        """What reads by a schema; None: it is not there, but may come yet. Raises `_NoAnswerError`."""
        schema = _answer(client.get_schema, number)
        if schema is None:
            if doubted is None or time.monotonic() - doubted < _SURE:
                return None
            return _refusing(f"the registry has no schema {number}")
        kind = schema.schema_type or "AVRO"
        if kind != self._kind:
            return _refusing(f"the schema {number} is one of {kind}, not of {self._kind}")
        try:
            return self._make(schema.schema_str or "", list(_references(client, schema, set())))
        except UnusableError as error:
            return _refusing(f"the schema {number} {error}")

    def _lost(self, reason: str) -> None:
        if not self.is_lost:
            self.is_lost = True
            fields = {"source": self._source, "reason": reason}
            _log.warning("source waits for the schema registry", extra={"fields": fields})

    def _found(self) -> None:
        if self.is_lost:
            self.is_lost = False
            _log.warning("source goes on", extra={"fields": {"source": self._source}})


def _answer(ask: Callable[..., Any], *what: Any) -> Any:
    """What the registry has; None: it says that it has nothing. Raises `_NoAnswerError`."""
    try:
        return ask(*what)
    except SchemaRegistryError as error:
        if error.http_status_code == 404 and error.error_code in _NOT_THERE:
            return None
        raise _NoAnswerError(_told(error)) from error
    except Exception as error:  # whatever it is, no schema came
        raise _NoAnswerError(_told(error)) from error


def _told(error: Exception) -> str:
    if isinstance(error, SchemaRegistryError):
        return f"HTTP {error.http_status_code}: {str(error.error_message)[:200]}"
    return str(error)[:200] or type(error).__name__


def _references(client: SchemaRegistryClient, schema: Schema, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Deepest first, each name once."""
    for reference in schema.references or ():
        name, subject, version = reference.name or "", reference.subject or "", reference.version
        if name in seen:
            continue
        seen.add(name)
        found = _answer(client.get_version, subject, version, True)
        if found is None:
            raise UnusableError(f"refers to version {version} of `{subject}`, which the registry does not have")
        yield from _references(client, found.schema, seen)
        yield name, found.schema.schema_str or ""


def _refusing(detail: str) -> Read:
    def read(_: bytes) -> Any:
        raise UnfitError("unknown_schema", detail)

    return read


class Framed:
    """Decodes values that name their schema: with the face of `Decoder`, to which it gives what is inside."""

    def __init__(self, source: Source, decoder: Decoder, schemas: Schemas) -> None:
        self.schemas = schemas
        self.made = decoder.made
        self._user = source.user_id
        self._decoder = decoder

    @property
    def unit(self) -> int:
        """As `Decoder` has it."""
        return self._decoder.unit

    def block(self, values: Sequence[bytes]) -> Sequence[Row] | None:
        """As `Decoder.block`."""
        try:
            records = list(map(self._record, values))
        except UnfitError:
            return None
        return self._decoder.block(records)

    def lines(self, values: Sequence[bytes]) -> tuple[list[Row | None], list[Bad]]:
        """As `Decoder.lines`."""
        rows: list[Row | None] = [None] * len(values)
        bad: list[Bad] = []
        records: list[Any] = []
        places: list[int] = []
        for number, value in enumerate(values):
            try:
                records.append(self._record(value))
                places.append(number)
            except UnfitError as error:
                bad.append((number, error))
        good, worse = self._decoder.lines(records)
        for place, row in zip(places, good, strict=True):
            rows[place] = row
        return rows, sorted(bad + [(places[number], error) for number, error in worse], key=lambda each: each[0])

    def user(self, key: bytes) -> str:
        """Whom a message's key names: text as it stands, or a record (or value) with a schema. Raises `UnfitError`."""
        if key[:1] != bytes([_MAGIC]):
            return key.decode()
        found = self._record(key)
        if isinstance(found, bytes):
            found = msgspec.json.decode(found)
        if isinstance(found, dict):
            for name in self._user:
                found = found.get(name) if isinstance(found, dict) else None
        return as_id(found)

    def _record(self, value: bytes) -> Any:
        read = self.schemas.reads.get(value[:PREFIX])
        if read is None:
            raise UnfitError("unparseable", "the value does not begin with a zero byte and the id of a schema")
        return read(value)
