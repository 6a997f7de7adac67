"""One Redis server, for as long as a test needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import redis

from servers import fetch
from servers.process import HOST, Server


class RedisServer(Server):
    """An empty server, whose data are lost when it ends, unless `appendonly`.

    `maxmemory` is bytes, or with a unit as Redis reads it (`8mb`); what no longer fits is then refused.
    """

    def __init__(
        self, *, appendonly: bool = False, maxmemory: int | str | None = None, password: str | None = None
    ) -> None:
        super().__init__("redis")
        self._password = password
        self._options = {"save": "", "appendonly": "yes" if appendonly else "no", "maxmemory-policy": "noeviction"}
        if maxmemory is not None:
            self._options["maxmemory"] = str(maxmemory)
        if password is not None:
            self._options["requirepass"] = password

    @property
    def url(self) -> str:
        """Its address, as clients take it, with the password if there is one."""
        login = "" if self._password is None else f":{quote(self._password, safe='')}@"
        return f"redis://{login}{HOST}:{self.ports[0]}/0"

    def client(self, **options: Any) -> redis.Redis:
        """A new client, for a `with` statement; `options` are those of `redis.Redis`."""
        return redis.Redis.from_url(self.url, **options)

    def _command(self) -> Sequence[str]:
        options = {"bind": HOST, "port": str(self.ports[0]), "dir": str(self.folder)} | self._options
        return (fetch.redis(), *(word for key, value in options.items() for word in (f"--{key}", value)))

    def _answers(self) -> bool:
        try:
            with self.client(socket_timeout=5) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False
