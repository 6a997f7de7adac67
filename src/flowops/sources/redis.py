"""Redis: a stream is a source of one partition; a set is one of membership, whose changes are found by looking again.

Here are the settings and the connector; `redis_stream` and `redis_set` have the partitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from flowops.core.plan import Source
from flowops.core.records import Micros
from flowops.core.time import DAY, SECOND
from flowops.errors import ConfigError
from flowops.settings.fields import Label, refuse, within
from flowops.settings.redis import RedisConnection
from flowops.settings.shapes import DURATION, Shaped, says
from flowops.sources.base import Partition, Position
from flowops.sources.redis_client import TIMEOUT, as_text
from flowops.sources.redis_set import RedisSet
from flowops.sources.redis_stream import Id, RedisStream, parse

_WAIT = 10.0  # seconds for the server, when a run begins


class RedisSettings(RedisConnection):
    """`redis:` of a source: a `stream`, or a `set` that is looked at `every` so often.

    A stream's entry is the record, its fields the values, unless `json` names the one field that holds it as JSON.
    """

    stream: Annotated[Label | None, says("The stream that is read; its entries are records.", "web")] = None
    json_field: Annotated[
        Label | None,
        Field(alias="json"),
        says(
            "Of a stream: the field that holds the record as JSON; left out: the entry's fields are the record.",
            "payload",
        ),
    ] = None
    members_of: Annotated[
        Label | None,
        Field(alias="set"),
        says("The set that is looked at: the user ids in it are in the segment.", "vip-users"),
    ] = None
    every: Annotated[
        Micros | None,
        BeforeValidator(within(SECOND, DAY)),
        Shaped(DURATION),
        says("How often a set is looked at, 1s to 1d; left out: 30s.", "30s", "5m"),
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.stream is None) == (self.members_of is None):
            refuse(
                "FO107", "`redis` is either a `stream` or a `set`", "{stream: KEY, url: ...} or {set: KEY, url: ...}"
            )
        if self.stream is not None and self.every is not None:
            refuse("FO107", "a stream has no `every`: it is read as it grows", "leave `every` out")
        if self.members_of is not None and self.json_field is not None:
            refuse("FO107", "a set has no `json`: its members are user ids", "leave `json` out")
        return self

    @property
    def key(self) -> str:
        """The key that is read."""
        return self.stream or self.members_of or ""


class RedisKey:
    """The connector of one key. `bounds`: the last entry of a bounded run."""

    def __init__(
        self, source: Source, settings: RedisSettings, *, follow: bool, bounds: Mapping[str, Position]
    ) -> None:
        self._source = source
        self._settings = settings
        self._follow = follow
        self._bounds = bounds
        self._checked = False

    def partitions(self) -> Mapping[str, int]:
        """The key. Raises ConfigError for a server that does not answer, and for a key of another type."""
        if not self._checked:
            self._ask_last()
            self._checked = True
        return {self._settings.key: 0}

    def ends(self) -> Mapping[str, Position]:
        """The id of the stream's last entry; of a set, nothing but that it is looked at once."""
        return {self._settings.key: self._ask_last()}

    def open(self, name: str, position: Position | None) -> Partition:
        """The stream or set."""
        client = self._settings.connect(timeout=TIMEOUT, retries=self._settings.stream is not None)
        if self._settings.stream is None:
            every = (self._settings.every or 30 * SECOND) / SECOND
            return RedisSet(self._source, client, name, position, every, follow=self._follow)
        end: Id | None = None
        if not self._follow:
            ms, seq = self._bounds[name]
            end = ms, seq
        return RedisStream(self._source, client, name, self._settings.json_field, position, end)

    def _ask_last(self) -> Id:
        import redis  # noqa: PLC0415

        settings, key = self._settings, self._settings.key
        where = f"source `{self._source.name}`"
        wanted = "set" if settings.stream is None else "stream"
        client = settings.connect(timeout=_WAIT)
        try:
            found = as_text(client.type(key))
            if found not in (wanted, "none"):
                raise ConfigError(f"{where}: `{key}` is a {found} in Redis, not a {wanted}\n  try: name another key")
            if wanted == "set" or found == "none":
                return 0, 0
            return parse(client.xinfo_stream(key)["last-generated-id"])
        except redis.RedisError as error:
            raise ConfigError(
                f"{where}: Redis at `{settings.url}` does not serve ({error})\n  try: check `url`, `password` and the"
                " network"
            ) from error
        finally:
            client.close()
