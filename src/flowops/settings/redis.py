"""How Redis is reached: the keys that a source, a channel and the ledger share, and the client made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator

from flowops.errors import ConfigError
from flowops.settings.fields import refuse
from flowops.settings.model import Model
from flowops.settings.secrets import Filled, Secret, Url
from flowops.settings.shapes import says

if TYPE_CHECKING:
    import redis

_SCHEMES = ("redis://", "rediss://", "unix://", "${", "file:")


def _scheme(url: Filled) -> Filled:
    if not url.text.startswith(_SCHEMES):
        hint = "write it as `redis://host:6379/0`, or `rediss://` for TLS"
        refuse("FO108", "this is not a URL of Redis", hint, secret=True)
    return url


class RedisConnection(Model):
    """`url: redis://host:6379/0`, and a `password` where the server wants one."""

    reach: ClassVar[frozenset[str]] = frozenset({"url", "password"})

    url: Annotated[
        Url, AfterValidator(_scheme), says("Where the server is; `rediss://` for TLS.", "redis://redis:6379/0")
    ]
    password: Annotated[
        Secret | None,
        says(
            "Where the password is: of the environment, or in a file. Never the password itself.",
            "${REDIS_PASSWORD}",
            {"file": "/run/secrets/redis"},
        ),
    ] = None

    def connect(self, *, timeout: float = 10.0, retries: bool = True) -> redis.Redis:
        """A client, which connects when it is first used. `timeout`: seconds, of connecting and of each answer.

        `retries`: whether a question that found the connection broken is asked again over another one, unseen.
        Raises ConfigError for a secret that is not there or a URL that is none.
        """
        import redis  # noqa: PLC0415 - only a run needs it
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        more = {} if retries else {"retry": Retry(NoBackoff(), 0)}
        url = self.url.reveal()
        password = {} if self.password is None else {"password": self.password.reveal()}
        try:
            return redis.Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout, client_name="flowops", **password, **more
            )
        except ValueError:  # its words may hold the password
            raise ConfigError(f"`{self.url}` does not lead to a URL of Redis, as redis://host:6379/0") from None
