"""The Kafka client of one topic in one process: what its partitions here share.

One consumer fetches for all of them, in large batches, and puts what it got into an inbox each. A partition that is far
ahead of the others is paused once its inbox is full; seldom, because the client then throws away what it has fetched of
it, and fetches it again. Beside it a thread asks now and then where the logs end,
how many partitions there are, and commits positions for monitoring: the readers never wait for an answer.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # not in its `__all__`

from flowops.core.records import Micros
from flowops.errors import ConfigError, FlowopsError, InputError, RunError
from flowops.settings.kafka import refused_options

if TYPE_CHECKING:
    from flowops.sources.kafka import KafkaSettings

_log = logging.getLogger(__name__)

_BATCH = 2_000  # messages that the client gives at a time: few enough to stay in the processor's cache
_ROOM = 192 << 20  # bytes in all inboxes; of four, each holds several times what a reader takes at a time
_LEAST_ROOM = 8 << 20  # in each, however many there are
_OBJECT = 180  # bytes that a message takes beside its value
_WAIT = 10.0  # for a broker, when a run begins
_ASK_EVERY = 0.3
_PATIENCE = 3.0  # for an answer, while it runs
_COMMIT_EVERY = 1.0
_REFRESH = "topic.metadata.refresh.interval.ms"  # as often as the client itself, partitions are counted
_REFRESH_MS = 30_000
_UNANSWERED = 256  # questions for the end that are kept while a partition lags behind

_TUNED: dict[str, Any] = {
    "queued.min.messages": 20_000,  # of each partition; what a pause throws away
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 10,  # the client's own second would pass each time that its queue has been full
    "reconnect.backoff.max.ms": 1_000,
}
"""What `options` may say otherwise."""

_FIXED: dict[str, Any] = {
    "allow.auto.create.topics": False,
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
}

_NOT_THERE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._NOENT)  # noqa: SLF001
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # of a topic at a broker that gives none


class Fetched(NamedTuple):
    """Messages of one partition, in order: what is needed of each, taken while the client's objects are at hand.

    Until they are read these would lie far away in memory, each several times the size of its value.
    """

    values: list[bytes | None]
    offsets: Sequence[int]
    """A range, unless the log has gaps."""
    stamps: list[tuple[int, int]]
    """(kind, milliseconds), as the client tells when each was recorded."""
    keys: list[bytes | None] | None
    """Only where one has no value, or an empty one."""

    def part(self, begin: int, end: int) -> Fetched:
        """Those from the place `begin` to before `end`."""
        keys = None if self.keys is None else self.keys[begin:end]
        return Fetched(self.values[begin:end], self.offsets[begin:end], self.stamps[begin:end], keys)


class Inbox:
    """What has been fetched of one partition and not been read: runs of messages, and ends of the log between them."""

    def __init__(self, client: TopicClient, number: int) -> None:
        self.number = number
        self.asked: deque[tuple[Micros, int]] = deque(maxlen=_UNANSWERED)
        """(instant, the end that was asked for then), oldest first."""
        self.end: int | None = None
        """The last of these ends."""
        self.saved: int | None = None
        """The offset to be shown as the group's."""
        self.shown: int | None = None
        self.paused = False
        self._client = client
        self._runs: deque[tuple[Fetched, int] | int] = deque()
        self._begun = 0  # messages of the first run that have been taken
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no more should be fetched."""
        return self._bytes > self._client.room

    @property
    def is_low(self) -> bool:
        """Whether more should be fetched again."""
        return self._bytes < self._client.room // 2

    def put(self, messages: list[Message]) -> None:
        """Add messages."""
        values = list(map(Message.value, messages))
        keys = None if all(values) else list(map(Message.key, messages))
        size = sum(map(len, messages))
        self._runs.append((Fetched(values, _offsets(messages), list(map(Message.timestamp, messages)), keys), size))
        self._bytes += size + _OBJECT * len(messages)

    def put_end(self, offset: int) -> None:
        """The log ends here, for now."""
        self._runs.append(offset)

    def take(self, limit: int) -> Fetched | int | None:
        """Messages of about `limit` bytes, at least one; or the offset of an end; None: nothing is there."""
        if not self._runs and not self._client.fetch(self):
            return None
        with self._client.lock:
            return self._take(limit)

    def _take(self, limit: int) -> Fetched | int:
        head = self._runs[0]
        if isinstance(head, int):
            self._runs.popleft()
            return head
        run, size = head
        held = len(run.values)
        count = max(1, limit * held // max(1, size))
        taken = run.part(self._begun, self._begun + count)
        self._begun += count
        if self._begun >= held:
            self._runs.popleft()
            self._begun = 0
            self._bytes -= size + _OBJECT * held
            if self.paused and self.is_low:
                self._client.resume(self)
        return taken

    def __bool__(self) -> bool:
        return bool(self._runs)


class TopicClient:
    """Reads one topic. `watch`: it grows, so its ends and partitions are asked for again and again."""

    def __init__(self, source: str, settings: KafkaSettings, *, watch: bool) -> None:
        self.partition_count = 0
        self.topic_id: str | None = None
        """By which a topic that was made anew under the same name is known; None: no broker tells."""
        self.failure: FlowopsError | None = None
        """Why nothing is read any more."""
        self._source = source
        self._settings = settings
        self._topic = settings.topic
        self._brokers = ", ".join(settings.brokers)
        self._watch = watch
        self.lock = threading.RLock()
        """Held while anything of the consumer or an inbox changes: the workers of a process may be threads."""
        self._inboxes: dict[int, Inbox] = {}
        self.room = _ROOM
        """Bytes that an inbox holds."""
        self._consumer: Consumer | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self.is_lost = False
        """Whether nobody answers."""
        self._said = ""
        options = settings.client_options() | {"error_cb": self._on_error}
        self._options = _TUNED | {_REFRESH: _REFRESH_MS, "group.id": settings.group or "flowops"} | options | _FIXED
        self._refresh = max(0.1, int(self._options[_REFRESH]) / 1000)
        try:
            self._admin = AdminClient(options)
        except KafkaException as error:
            raise refused_options(error, f"source `{source}`", settings) from None

    def ask_partitions(self) -> int | None:
        """How many partitions the topic has; None: it does not exist. Raises ConfigError when no broker answers."""
        self.partition_count = len(self._metadata(self._topic, _WAIT))
        self.topic_id = self._ask_id(_WAIT)
        return self.partition_count or None

    def topics(self) -> list[str]:
        """The names of all topics that can be read."""
        return sorted(name for name in self._all_topics() if not name.startswith("__"))

    def check_id(self, known: str | None) -> None:
        """Raises InputError where offsets are of a topic of another id than this one."""
        if self._is_another(known):
            raise self._made_anew()

    def ends(self, numbers: Iterable[int], timeout: float = _WAIT) -> dict[int, int]:
        """Where the committed part of each partition ends now. Raises ConfigError when no broker answers."""
        wanted = list(numbers)
        ends = self._ask_ends(wanted, timeout)
        if len(ends) < len(wanted):
            raise self._unreachable("nobody tells where the topic ends")
        return ends

    def assign(self, number: int, offset: int) -> Inbox:
        """Begin to fetch a partition from `offset` on."""
        with self.lock:
            consumer = self._consumer or self._connect()
            inbox = self._inboxes[number] = Inbox(self, number)
            self.room = max(_LEAST_ROOM, _ROOM // len(self._inboxes))
            consumer.incremental_assign([TopicPartition(self._topic, number, offset)])
            if self._watch and self._thread is None:
                self._thread = threading.Thread(target=self._keep_asking, name=f"kafka-{self._topic}", daemon=True)
                self._thread.start()
            return inbox

    def unassign(self, number: int) -> None:
        """Fetch a partition no more; with the last one the client is closed."""
        with self.lock:
            del self._inboxes[number]
            consumer = self._consumer
            if consumer is None:
                return
            if self._inboxes:
                consumer.incremental_unassign([TopicPartition(self._topic, number)])
                return
            self._consumer = None
        self._over.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
            self._thread = None
        consumer.close()

    def fetch(self, inbox: Inbox) -> bool:
        """Distribute what has arrived until the inbox has some of it, or nothing is left; whether it has."""
        with self.lock:
            while not inbox:
                messages = self._consumer.consume(_BATCH, 0) if self._consumer is not None else []
                if not messages:
                    return False
                self._distribute(messages)
        return True

    def resume(self, inbox: Inbox) -> None:
        """Fetch for the inbox again."""
        with self.lock:
            inbox.paused = False
            if self._consumer is not None:
                self._consumer.resume([TopicPartition(self._topic, inbox.number)])

    def _connect(self) -> Consumer:
        try:
            self._consumer = Consumer(self._options)
        except KafkaException as error:
            raise refused_options(error, f"source `{self._source}`", self._settings) from None
        self._over.clear()
        return self._consumer

    def _distribute(self, messages: list[Message]) -> None:
        odd = any(map(Message.error, messages))
        for number, group in groupby(messages, Message.partition):
            inbox = None if number is None else self._inboxes.get(number)
            if inbox is None:
                for message in group if odd else ():
                    self._on_error(message.error())
                continue
            if odd:
                self._put_odd(inbox, group)
            else:
                inbox.put(list(group))
            if inbox.is_full and not inbox.paused and self._consumer is not None:
                self._consumer.pause([TopicPartition(self._topic, inbox.number)])
                inbox.paused = True
        if not odd and not self._watch:
            self._found()

    def _put_odd(self, inbox: Inbox, messages: Iterable[Message]) -> None:
        """As `Inbox.put`, where some may tell of an end or an error."""
        run: list[Message] = []
        for message in messages:
            error = message.error()
            if error is None:
                run.append(message)
                continue
            if run:
                inbox.put(run)
                run = []
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                inbox.put_end(message.offset() or 0)
            else:
                self._on_message_error(message, error)
        if run:
            inbox.put(run)

    def _on_message_error(self, message: Message, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            raise self._gone(message)
        if error.fatal() or error.code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError._BAD_MSG,  # noqa: SLF001
            KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        ):
            raise RunError(
                f"source `{self._source}`: {self._topic}[{message.partition()}] cannot be read: {error.str()}. The"
                " state is kept: the same command goes on from the last epoch."
            )
        self._on_error(error)

    def _gone(self, message: Message) -> InputError:
        if self._is_another(self._ask_id(_PATIENCE)):  # the broker may know before the thread has asked
            return self._made_anew()
        name = f"{self._topic}[{message.partition()}]"
        there = ""
        if self._consumer is not None:
            with contextlib.suppress(KafkaException):
                place = TopicPartition(self._topic, message.partition() or 0)
                low, high = self._consumer.get_watermark_offsets(place, timeout=5)
                there = f" (it has {low} to {high - 1})" if high > low else " (it is empty)"
        return InputError(
            f"source `{self._source}`: {name} has no record at offset {message.offset()} any more, where reading goes"
            f" on{there}. Retention removed what was not read yet, or the topic was made anew: what is missing cannot"
            " be known\n  try: bring the records back, or begin anew with what there is (`--fresh`)"
        )

    def _is_another(self, topic_id: str | None) -> bool:
        """Whether the id is known to be of another topic than that which is read."""
        return topic_id is not None and self.topic_id not in (None, topic_id)

    def _made_anew(self) -> InputError:
        return InputError(
            f"source `{self._source}`: the topic `{self._topic}` is not the one that was read: it was deleted and made"
            " anew, and the offsets that were reached mean nothing in it\n  try: begin anew with what there is"
            " (`--fresh`)"
        )

    # How the broker does

    def _on_error(self, error: KafkaError | None) -> None:
        if error is None:
            return
        self._said = error.str()
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._watch:  # noqa: SLF001
            self._lost()  # else the thread notices: what has been fetched before would speak against it

    def _lost(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            fields = {"source": self._source, "reason": self._said or "no answer"}
            _log.warning("source waits for Kafka", extra={"fields": fields})

    def _found(self) -> None:
        if self.is_lost:
            self.is_lost = False
            self._said = ""
            _log.warning("source goes on", extra={"fields": {"source": self._source}})

    def _unreachable(self, error: KafkaException | str) -> ConfigError:
        self._admin.poll(0)  # lets it say why
        reason = self._said or (error if isinstance(error, str) else error.args[0].str())
        return ConfigError(
            f"source `{self._source}`: no Kafka broker answers at {self._brokers} within {_WAIT:g} s ({reason})\n"
            "  try: check `brokers`, and `security.protocol` and the like under `options`"
        )

    def _metadata(self, topic: str, timeout: float) -> list[int]:
        try:
            found = self._admin.list_topics(topic, timeout=timeout).topics[topic]
        except KafkaException as error:
            raise self._unreachable(error) from error
        if found.error is not None and found.error.code() not in (
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.LEADER_NOT_AVAILABLE,
        ):
            raise ConfigError(f"source `{self._source}`: the topic `{topic}` cannot be read: {found.error.str()}")
        return sorted(found.partitions)

    def _all_topics(self) -> list[str]:
        try:
            return list(self._admin.list_topics(timeout=_WAIT).topics)
        except KafkaException as error:
            raise self._unreachable(error) from error

    # Beside the readers

    def _ask_ends(self, numbers: Iterable[int], timeout: float) -> dict[int, int]:
        """The ends of those partitions of which somebody answered."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(self._topic, number): latest for number in numbers}
        if not wanted:
            return {}
        answers = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout
        )
        ends: dict[int, int] = {}
        for place, answer in answers.items():
            try:
                ends[place.partition] = answer.result(timeout + 1).offset
            except KafkaException as error:
                if error.args[0].code() in _NOT_THERE:
                    self._said = f"no broker has the topic {self._topic}: its leader changes, or it was deleted"
            except TimeoutError:
                continue
        # Of a broker that goes away while it is asked the client gives an invalid offset, and no error.
        return {number: end for number, end in ends.items() if end >= 0}

    def _ask_id(self, timeout: float) -> str | None:
        try:
            asked = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=timeout)
            found = str(asked[self._topic].result(timeout + 1).topic_id)
        except (KafkaException, TimeoutError):  # nobody answers, or may not: offsets alone have to do
            return None
        return None if found == _NO_ID else found

    def _keep_asking(self) -> None:
        try:
            self._ask_until_over()
        except Exception as error:  # noqa: BLE001 - whatever it is: else time would stand still, and nobody be told
            self.failure = RunError(
                f"source `{self._source}`: nobody asks for the ends of {self._topic} any more: {type(error).__name__}:"
                f" {error}. The state is kept: the same command goes on from the last epoch."
            )

    def _ask_until_over(self) -> None:
        counted = shown = time.monotonic()
        while not self._over.wait(_ASK_EVERY):
            is_due = time.monotonic() - counted >= self._refresh
            # Before the ends are asked: they might be another topic's.
            if (is_due or self.is_lost) and self._is_another(self._ask_id(_PATIENCE)):
                self.failure = self._made_anew()
                return
            instant = time.time_ns() // 1000
            inboxes = dict(self._inboxes)
            ends = self._ask_ends(inboxes, _PATIENCE)
            for number, end in ends.items():
                inboxes[number].asked.append((instant, end))
                inboxes[number].end = end
            if len(ends) < len(inboxes):
                self._lost()
                with contextlib.suppress(KafkaException):  # who leads may have changed: the question goes there
                    self._admin.list_topics(self._topic, timeout=_PATIENCE)
                continue
            self._found()
            now = time.monotonic()
            if is_due:
                counted = now
                with contextlib.suppress(ConfigError):  # it will be asked again
                    self.partition_count = max(self.partition_count, len(self._metadata(self._topic, _WAIT)))
            if now - shown >= _COMMIT_EVERY:
                shown = now
                self._show_positions(inboxes)

    def _show_positions(self, inboxes: dict[int, Inbox]) -> None:
        moved = [inbox for inbox in inboxes.values() if inbox.saved is not None and inbox.saved != inbox.shown]
        consumer = self._consumer
        if not moved or consumer is None:
            return
        places = [TopicPartition(self._topic, inbox.number, inbox.saved or 0) for inbox in moved]
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except (KafkaException, RuntimeError) as error:  # nothing but what others see depends on it
            _log.debug("positions of %s were not committed: %s", self._topic, error)
            return
        for inbox in moved:
            inbox.shown = inbox.saved


def _offsets(messages: Sequence[Message]) -> Sequence[int]:
    """A range where there are no gaps, as mostly; then only the ends are asked."""
    first, last = cast("int", messages[0].offset()), cast("int", messages[-1].offset())
    if last - first == len(messages) - 1:
        return range(first, last + 1)
    return cast("list[int]", [message.offset() for message in messages])
