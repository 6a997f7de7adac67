"""A schema registry that speaks as Confluent's does, for as long as a test needs it: Apicurio Registry."""

from __future__ import annotations

import http.client
from collections.abc import Sequence

from servers import fetch
from servers.kafka import QUICK_START
from servers.process import HOST, Server


class Registry(Server):
    """A registry of its own, without schemas; what was registered outlives a stop."""

    def __init__(self) -> None:
        super().__init__("registry")

    @property
    def url(self) -> str:
        """Its address, as clients take it."""
        return f"http://{HOST}:{self.ports[0]}/apis/ccompat/v7"

    def _command(self) -> Sequence[str]:
        options = {
            "quarkus.http.host": HOST,
            "quarkus.http.port": self.ports[0],
            "REGISTRY_DATASOURCE_URL": f"jdbc:h2:file:{self.folder}/schemas",
        }
        given = (f"-D{name}={value}" for name, value in options.items())
        return (fetch.java(), *QUICK_START, *given, "-jar", str(fetch.registry()))

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.ports[0], timeout=5)
        try:
            connection.request("GET", "/apis/ccompat/v7/subjects")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
