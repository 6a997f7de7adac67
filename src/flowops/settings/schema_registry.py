"""How a schema registry is reached, and the options of its client made of that."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from flowops.errors import ConfigError
from flowops.settings.fields import Label, refuse
from flowops.settings.model import Model
from flowops.settings.secrets import Filled, FilledText, Url
from flowops.settings.shapes import OR_ONE, says

_SCHEMES = ("https://", "http://")
_OURS = ("url", "timeout", "max.retries", "retries.wait.ms", "retries.max.wait.ms", "cache.capacity", "cache.latest")
_SECRETS = ("password", "secret", "user.info", "auth.token")


def _scheme(url: Filled) -> Filled:
    if not url.text.startswith((*_SCHEMES, "${", "file:")):
        refuse("FO108", "this is not a URL of a schema registry", "write it as `https://host:8081`", secret=True)
    return url


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return text.startswith(_SCHEMES) and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _options(options: dict[str, Filled]) -> dict[str, Filled]:
    for name, value in options.items():
        if name.startswith(_OURS):
            refuse("FO107", f"the option `{name}` is set by flowops itself", "leave it out")
        if any(part in name for part in _SECRETS) and not value.refers:
            refuse("FO210", f"the secret `{name}` is written out here", "say where it is: ${NAME}, or {file: PATH}")
    return options


class SchemaRegistry(Model):
    """`url: https://host:8081`, one or a list, and `options` of the client by their names: TLS, who asks."""

    url: Annotated[
        list[Annotated[Url, AfterValidator(_scheme)]],
        BeforeValidator(_listed),
        Field(min_length=1),
        OR_ONE,
        says("Where it is: one URL, or a list that is asked one after the other.", "https://registry:8081"),
    ]
    options: Annotated[
        dict[Label, FilledText],
        AfterValidator(_options),
        says(
            "Of confluent-kafka's client by name, for TLS and who asks.",
            {"basic.auth.user.info": "shop:${REGISTRY_PASSWORD}"},
        ),
    ] = Field(default_factory=dict)

    def client_options(self, *, timeout: float) -> dict[str, Any]:
        """Options for a client of confluent_kafka, secrets in them. `timeout`: seconds, of one request.

        Raises ConfigError for a secret that is not there and a URL that is none.
        """
        urls = [url.reveal() for url in self.url]
        for written, url in zip(self.url, urls, strict=True):
            if not _is_url(url):  # what is wrong with it may be the password's, so nothing of it is told
                raise ConfigError(f"`{written}` does not lead to a URL of a schema registry, as https://host:8081")
        told = {"url": ",".join(urls), "timeout": timeout, "max.retries": 0}
        return told | {name: value.reveal() for name, value in self.options.items()}

    def __str__(self) -> str:
        return ", ".join(map(str, self.url))
