"""The kafka channel: a message per command on a topic, keyed by the user, exactly once for who reads committed.

Commands are sent in transactions, up to a thousand at a time, under a transactional id of the writer's own. A writer
that starts takes that id over: the broker aborts what its forerunner left open and takes nothing more from it, so that
what is on the topic then is all that will ever be of the forerunner. The writer reads it from where the last committed
epoch stood to its end, and what it finds is not sent again. The order of a user's commands is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from flowops.channels.base import ACCEPTED, Answer, Command, Network, NetworkSettings, Place, Unavailable, shortened
from flowops.channels.command import to_json
from flowops.core.time import MINUTE
from flowops.errors import RunError
from flowops.settings.fields import Label
from flowops.settings.kafka import KafkaConnection, refused_options
from flowops.settings.model import Word
from flowops.settings.shapes import says

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

_AT_ONCE = 1000
_ANSWER = 15.0
"""Seconds that a broker has for an answer before it counts as gone."""

_ROOM = 0.1  # seconds to wait at a time until there is room in the client's queue
_TRANSACTION_MS = 60_000  # after which a broker aborts what a writer that died has left open
_SCAN = 120.0
_SKEW = 10 * MINUTE  # that clocks may differ, where only the time at which the run began tells where to read from

Positions = dict[int, int]
"""Partition -> the offset before which nothing is of a command that is still in flight."""


class KafkaSettings(KafkaConnection, NetworkSettings):
    """`type: kafka`."""

    type: Annotated[Literal["kafka"], Word, says("What kind of channel it is.", "kafka")]
    topic: Annotated[Label, says("The topic that messages go to.", "push")]
    transactional_id: Annotated[
        Label | None,
        says("Begins the ids of the writers' transactions; left out: `flowops-PROJECT-CHANNEL`.", "shop-push"),
    ] = None


class KafkaSender:
    """Sends the commands of one writer."""

    def __init__(self, settings: KafkaSettings, place: Place) -> None:
        self._settings = settings
        self._topic = settings.topic
        self._begun = place.begun
        self._options = settings.client_options()
        prefix = settings.transactional_id or f"flowops-{place.project}-{place.channel}"
        self._id = f"{prefix}-{place.writer}"
        self._producer: Producer | None = None
        self._positions: Positions | None = None
        self._alone = 0  # so many commands are sent one at a time
        self._make()  # options that the client refuses are told before anything runs

    @property
    def room(self) -> int:
        """How many commands make a transaction."""
        return 1 if self._alone else _AT_ONCE

    def connect(self, position: Positions | None) -> list[str]:
        """Take over from whoever sent under this id before; the dispatch ids found on the topic since `position`."""
        from confluent_kafka import KafkaError, KafkaException  # noqa: PLC0415 - only a run needs it

        self.close()
        self._producer = self._make()
        try:
            self._producer.init_transactions(_ANSWER)
            found, self._positions = self._scan(position)
        except (KafkaException, KafkaError) as error:  # type: ignore[misc]
            raise self._unavailable(error) from error
        return found

    def send(self, commands: Sequence[Command], answer: Callable[[Command, Answer], None]) -> None:
        """One transaction. A command that no broker would take has failed."""
        from confluent_kafka import KafkaError, KafkaException  # noqa: PLC0415

        if self._producer is None or self._positions is None:
            raise Unavailable("not connected")
        ends = dict(self._positions)
        refused: dict[str, str] = {}  # by the client, before it would be sent
        broken: dict[str, str] = {}  # by the broker, which breaks the transaction

        def delivered(dispatch_id: str, error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None:
                if error.code() in self._permanent():
                    broken[dispatch_id] = str(error.str())
            elif partition is not None and offset is not None:
                ends[partition] = max(ends.get(partition, 0), offset + 1)

        try:
            self._producer.begin_transaction()
            for command in commands:
                try:
                    self._produce(self._producer, command, partial(delivered, command.dispatch_id))
                except KafkaException as error:
                    if error.args[0].code() not in self._permanent():
                        raise
                    refused[command.dispatch_id] = str(error.args[0].str())
            if self._producer.flush(_ANSWER) > 0:
                raise Unavailable(f"no answer within {_ANSWER:.0f} s")
            if broken:
                self._producer.abort_transaction(_ANSWER)
            else:
                self._producer.commit_transaction(_ANSWER)
        except (KafkaException, KafkaError) as error:  # type: ignore[misc]  # what is fatal is raised bare
            raise self._unavailable(error) from error
        if broken and len(commands) > 1:  # a broker refuses whole batches: one at a time tells which it was
            self._alone = len(commands)
            for command in commands:
                answer(command, Answer(None, after=0.0))
            return
        self._alone = max(0, self._alone - 1)
        if not broken:
            self._positions = ends
        for command in commands:
            words = refused.get(command.dispatch_id) or broken.get(command.dispatch_id)
            answer(command, ACCEPTED if words is None else Answer("failed", shortened(words)))

    def position(self) -> Positions | None:
        """By partition, where the commands that are not answered yet would begin."""
        return None if self._positions is None else dict(self._positions)

    def close(self) -> None:
        """Leave; a transaction that is open is aborted by whoever comes next."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    def _make(self) -> Producer:
        from confluent_kafka import KafkaException, Producer  # noqa: PLC0415

        options = {
            "linger.ms": 5,
            **self._options,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # as in Java's client: who joins topics finds a user in one partition
            "error_cb": _unsaid,
            "transactional.id": self._id,
            "transaction.timeout.ms": _TRANSACTION_MS,
            "message.timeout.ms": _TRANSACTION_MS,
        }
        try:
            return Producer(options)
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_options(error, f"the channel to the topic {self._topic}", self._settings) from None

    def _produce(self, producer: Producer, command: Command, delivered: Callable[[Any, Any], None]) -> None:
        headers: list[tuple[str, str | bytes | None]] = [
            ("dispatch_id", command.dispatch_id.encode()),
            ("plan", command.plan_id.encode()),
            ("task", command.task.encode()),
        ]
        key, give_up = command.user_id.encode(), time.monotonic() + _ANSWER
        while True:
            try:
                producer.produce(self._topic, command.body, key, headers=headers, on_delivery=delivered)
            except BufferError as error:  # the client's queue is full, of which `options` may say the size
                if time.monotonic() > give_up:
                    raise Unavailable(f"no room in the client's queue within {_ANSWER:.0f} s") from error
                producer.poll(_ROOM)
            else:
                return

    def _scan(self, position: Positions | None) -> tuple[list[str], Positions]:
        """The dispatch ids on the topic from `position` to its end, and its end.

        The end is that of everything written, and reading goes on until it is reached: a transaction of another writer
        that stands open in between holds up who reads committed, until it is taken over or times out.
        """
        from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition  # noqa: PLC0415

        begins, ends = self._bounds(position)
        consumer = Consumer(
            {
                **self._options,
                "group.id": self._id,  # never joined, nothing is committed
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        found: list[str] = []
        try:
            open_ = {partition for partition, end in ends.items() if begins[partition] < end}
            consumer.assign([TopicPartition(self._topic, p, begins[p]) for p in open_])
            give_up = time.monotonic() + _SCAN
            while open_:
                for message in consumer.consume(1000, 0.5):
                    error = message.error()
                    partition, offset = message.partition(), message.offset()
                    if partition is None or offset is None:
                        continue
                    if error is None:
                        dispatch_id = _dispatch_id(message)
                        if dispatch_id is not None:
                            found.append(dispatch_id)
                        offset += 1
                    elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name for it
                        raise KafkaException(error)
                    if offset >= ends[partition]:
                        open_.discard(partition)
                if time.monotonic() > give_up:
                    raise Unavailable(f"the end of the topic {self._topic} was not reached within {_SCAN:.0f} s")
        finally:
            consumer.close()
        return found, ends

    def _bounds(self, position: Positions | None) -> tuple[Positions, Positions]:
        """By partition, where to read from and where the topic ends.

        Both are asked of all that is written: of what is committed, a broker tells no place behind a transaction that
        stands open, as those of other writers may that died and are not taken over yet.
        """
        from confluent_kafka import KafkaException  # noqa: PLC0415
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # noqa: PLC0415

        if self._producer is None:
            raise Unavailable("not connected")
        about = self._producer.list_topics(self._topic, timeout=_ANSWER).topics[self._topic]
        if about.error is not None:
            raise KafkaException(about.error)
        ends = self._offsets(list(about.partitions), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        if position is not None:
            return {partition: position.get(partition, 0) for partition in ends}, ends
        since = OffsetSpec.for_timestamp(max(0, (self._begun - _SKEW) // 1000))
        begins = self._offsets(list(ends), since)
        return {partition: ends[partition] if begin < 0 else begin for partition, begin in begins.items()}, ends

    def _offsets(self, partitions: Sequence[int], spec: Any) -> Positions:
        """The offset of each that the spec asks for; negative if there is none."""
        from confluent_kafka import IsolationLevel, TopicPartition  # noqa: PLC0415
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415

        admin = AdminClient(self._options)  # kept: with the client, the answers would go
        wanted = {TopicPartition(self._topic, partition): spec for partition in partitions}
        asked = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_ANSWER)
        try:
            return {each.partition: future.result(_ANSWER + 1).offset for each, future in asked.items()}
        except TimeoutError as error:
            raise Unavailable(f"nobody says the offsets of the topic {self._topic}") from error

    @staticmethod
    def _permanent() -> frozenset[int]:
        from confluent_kafka import KafkaError  # noqa: PLC0415

        return frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD})

    def _unavailable(self, error: Exception) -> Exception:
        from confluent_kafka import KafkaError  # noqa: PLC0415

        reason = error if isinstance(error, KafkaError) else error.args[0]
        if reason.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED):  # noqa: SLF001
            return RunError(
                f"another engine sends to the topic {self._topic} under the transactional id {self._id}: stop one of"
                " them, or give this one a `transactional_id:` of its own"
            )
        if reason.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):  # noqa: SLF001
            return Unavailable(f"there is no topic {self._topic}: make it, and they go on")
        return Unavailable(shortened(str(reason.str())))


def _unsaid(error: KafkaError) -> None:
    """Say nothing of a broker that is gone: the client tries again, and what fails is raised where it is done."""


def _dispatch_id(message: Message) -> str | None:
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    value = next((value for name, value in pairs if name == "dispatch_id"), None)
    return value.decode() if isinstance(value, bytes) else value


CHANNEL = Network(KafkaSettings, to_json, KafkaSender)
