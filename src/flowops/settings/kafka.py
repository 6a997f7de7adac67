"""How a Kafka cluster is reached: the keys that a source and a channel share, and the client's options made of them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from flowops.errors import ConfigError
from flowops.settings.fields import Label, parse_texts, refuse
from flowops.settings.model import Model
from flowops.settings.secrets import Filled, FilledText
from flowops.settings.shapes import OR_ONE, says

OURS = frozenset(
    {
        "acks", "auto.offset.reset", "bootstrap.servers", "enable.auto.commit", "enable.auto.offset.store",
        "enable.idempotence", "enable.partition.eof", "group.id", "isolation.level", "metadata.broker.list",
        "message.timeout.ms", "delivery.timeout.ms", "partitioner", "plugin.library.paths", "transactional.id",
    }
)  # fmt: skip
"""Options on which exactness rests."""

_SECRETS = ("password", "secret", "pem", "oauthbearer.config", "jaas")


def _options(options: dict[str, Filled]) -> dict[str, Filled]:
    for name, value in options.items():
        if name in OURS:
            refuse("FO107", f"the option `{name}` is set by flowops itself", "leave it out")
        if any(part in name for part in _SECRETS) and not value.refers:
            refuse("FO210", f"the secret `{name}` is written out here", "say where it is: ${NAME}, or {file: PATH}")
    return options


class KafkaConnection(Model):
    """`brokers: [host:9092]`, and `options` of the client, by their names in librdkafka: TLS, SASL and the like."""

    reach: ClassVar[frozenset[str]] = frozenset({"brokers", "options"})

    brokers: Annotated[
        list[Label],
        BeforeValidator(parse_texts),
        Field(min_length=1),
        OR_ONE,
        says("Where the brokers are: `HOST:PORT`, one or a list.", ["kafka-1:9092", "kafka-2:9092"], "localhost:9092"),
    ]
    options: Annotated[
        dict[Label, FilledText],
        AfterValidator(_options),
        says(
            "Of librdkafka by name, for TLS, SASL and the like; those on which exactness rests are set by flowops.",
            {"security.protocol": "SASL_SSL", "sasl.password": "${KAFKA_PASSWORD}"},
        ),
    ] = Field(default_factory=dict)

    def client_options(self) -> dict[str, Any]:
        """Options for a client of confluent_kafka, secrets in them. Raises ConfigError for one that is not there.

        The client is told not to complain of every attempt at a broker that is gone: who uses it says so once.
        """
        told = {"bootstrap.servers": ",".join(self.brokers), "client.id": "flowops", "log_level": 0}
        return told | {name: value.reveal() for name, value in self.options.items()}


def refused_options(error: Exception, what: str, settings: KafkaConnection) -> ConfigError:
    """A client that could not be made of its options; without what comes from elsewhere, which its words may repeat."""
    words = str(error)
    for value in settings.options.values():
        if value.refers:
            words = words.replace(value.reveal(), "***")
    return ConfigError(f"{what}: the Kafka client refuses its `options`: {words}")
