"""One node of Apache Kafka that is broker and controller (KRaft), for as long as a test needs it."""

from __future__ import annotations

import base64
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # where it is typed; `admin` only passes it on

from servers import fetch
from servers.process import HOST, Server, StartError

QUICK_START = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""2.2 s of processor time until it answers; 3.5 s without the last two."""


class Broker(Server):
    """A broker of its own, without topics: a client makes none by naming it.

    With `sasl`, the passwords by user, clients must log in (SASL/PLAIN); `client_config` does so as the first of them.
    `config` are further lines of `server.properties`. `jvm` are Java's options; left alone they favour a quick start
    over speed later, so a benchmark that is bound by the broker gives its own.
    """

    def __init__(
        self,
        *,
        sasl: Mapping[str, str] | None = None,
        config: Mapping[str, str] | None = None,
        jvm: Sequence[str] = QUICK_START,
    ) -> None:
        super().__init__("kafka", ports=2)
        self._sasl = dict(sasl or {})
        self._config = dict(config or {})
        self._jvm = tuple(jvm)

    @property
    def bootstrap(self) -> str:
        """Its address, as clients take it for `bootstrap.servers`."""
        return f"{HOST}:{self.ports[0]}"

    @property
    def client_config(self) -> dict[str, str | int | float | bool]:
        """What any client of confluent-kafka needs to reach it."""
        config: dict[str, str | int | float | bool] = {"bootstrap.servers": self.bootstrap}
        for user, password in list(self._sasl.items())[:1]:
            config |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
            config |= {"sasl.username": user, "sasl.password": password}
        return config

    def admin(self) -> AdminClient:
        """A new client for all that `create_topic` does not do."""
        return AdminClient(self.client_config | {"log_level": 0})

    def producer(self, options: Mapping[str, str | int | float | bool] | None = None) -> Producer:
        """A new producer; what it has to send again is not overtaken, since tests rest on the order."""
        return Producer(self.client_config | {"enable.idempotence": True, "log_level": 0} | dict(options or {}))

    def create_topic(self, name: str, *, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Make a topic, wait until clients can use it, and return its name. `config` are the topic's settings.

        Raises KafkaException, also for a topic that is there.
        """
        admin = self.admin()
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin.create_topics([topic])[name].result(30)
        for _ in range(600):
            found = admin.list_topics(name, timeout=30).topics[name].partitions.values()
            if len(found) == partitions and all(partition.leader == 1 for partition in found):
                return name
            time.sleep(0.05)
        raise StartError(f"topic {name} was made, but not all of its {partitions} partitions are led")

    def _command(self) -> Sequence[str]:
        properties = self.folder / "server.properties"
        java = (fetch.java(), *self._jvm, "-cp", f"{fetch.kafka()}/*", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        if not properties.exists():
            properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")  # no option
            self._format((*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)))
        return (*java, "kafka.Kafka", str(properties))

    def _format(self, command: Sequence[str]) -> None:
        """Make the empty log folder, once."""
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise StartError(f"kafka's folder cannot be formatted:\n{done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        try:
            return bool(self.admin().list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    def _properties(self) -> dict[str, str]:
        client, controller = self.ports
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": f"CLIENT://{HOST}:{client},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"CLIENT://{HOST}:{client}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,CLIENT:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            # After a kill the node is refused until its own former session has run out: 9 s if nothing is said.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "200",
        }
        if self._sasl:
            properties |= self._sasl_properties()
        return properties | self._config

    def _sasl_properties(self) -> dict[str, str]:
        user, password = next(iter(self._sasl.items()))  # the node's own way in
        users = " ".join(f'user_{user}="{password}"' for user, password in self._sasl.items())
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        return {
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,CLIENT:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": (
                f'{module} required username="{user}" password="{password}" {users};'
            ),
        }
