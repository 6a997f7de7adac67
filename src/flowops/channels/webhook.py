"""The webhook channel: a POST per command, with a signature and the dispatch id as its idempotency key.

A 2xx is accepted. 408, 425, 429, 5xx and what the network does are tried again until the message expires; any other
answer is final. What was answered is in the ledger; where a crash fell between the provider's answer and the ledger,
the provider gets the same key again. Commands go out side by side, so the order of a user's commands is not kept.
"""

from __future__ import annotations

import hashlib
import hmac
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from flowops.channels.base import (
    ACCEPTED,
    WRITERS,
    Answer,
    Command,
    Network,
    NetworkSettings,
    Place,
    shortened,
)
from flowops.channels.command import to_json
from flowops.core.time import MINUTE, SECOND
from flowops.errors import ConfigError
from flowops.settings.fields import Boolean, Label, integer, refuse, within
from flowops.settings.model import Word
from flowops.settings.secrets import Filled, FilledText, Secret, Url
from flowops.settings.shapes import DURATION, INTEGER, Shaped, says

if TYPE_CHECKING:
    import httpx

_AGAIN = frozenset({408, 425, 429})
_READ = 4096  # bytes of an answer that are looked at
_LONGEST_PAUSE = 3600.0
"""Seconds for which a provider is left alone, however long it wants to be: then it is asked again."""

_LEAVE = 10.0  # seconds for the requests under way, when the sender is closed
_OURS = frozenset({"content-type", "content-length", "host", "idempotency-key", "flowops-signature"})
_TELLING = ("authorization", "key", "token", "secret", "password", "cookie")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def _headers(headers: dict[str, Filled]) -> dict[str, Filled]:
    for name, value in headers.items():
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            refuse("FO108", f"`{name}` is not the name of a header", "letters, digits, `-` and `_`")
        if name.lower() in _OURS:
            refuse("FO107", f"the header `{name}` is set by flowops itself", "leave it out")
        if any(part in name.lower() for part in _TELLING) and not value.refers:
            refuse("FO210", f"the secret of the header `{name}` is written out here", "`Bearer ${NAME}`")
    return headers


class WebhookSettings(NetworkSettings):
    """`type: webhook`."""

    reach: ClassVar[frozenset[str]] = frozenset({"url", "headers", "secret", "timeout", "parallel", "insecure"})

    type: Annotated[Literal["webhook"], Word, says("What kind of channel it is.", "webhook")]
    url: Annotated[
        Url,
        says(
            "Where messages are posted to: https://; http:// only to localhost, or with `insecure: true`.",
            "https://push.example.com/v1/send",
        ),
    ]
    headers: Annotated[
        dict[Label, FilledText],
        AfterValidator(_headers),
        says("What else to send; those that carry a secret refer to it.", {"Authorization": "Bearer ${PUSH_TOKEN}"}),
    ] = Field(default_factory=dict)
    secret: Annotated[Secret | None, says("Signs each request.", {"file": "/run/secrets/push"}, "${PUSH_SECRET}")] = (
        None
    )
    timeout: Annotated[
        int,
        BeforeValidator(within(SECOND, 2 * MINUTE)),
        Shaped(DURATION),
        says("For connecting, and for each wait for an answer, 1s to 2m; left out: 10s.", "10s"),
    ] = 10 * SECOND
    parallel: Annotated[
        int,
        BeforeValidator(integer(WRITERS, 1024)),
        Shaped(INTEGER),
        says("Requests at once, over all writers, 4 to 1024; left out: 32.", 32),
    ] = 32
    insecure: Annotated[Boolean, says("Whether http:// is allowed to other hosts than this.", True)] = False

    @model_validator(mode="after")
    def _https(self) -> Self:
        if not self.url.refers:
            problem = _problem_of(self.url.text, insecure=self.insecure)
            if problem is not None:
                refuse("FO107", *problem)
        return self


def _problem_of(url: str, *, insecure: bool) -> tuple[str, str] | None:
    """What is wrong with the URL, and what to try."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "the `url` of a webhook begins with https://, and names a host", "https://push.example.com/send"
    if parts.scheme == "http" and parts.hostname not in _LOCAL and not insecure:
        return "a webhook over http:// shows messages to whoever listens", "https://, or `insecure: true`"
    return None


class WebhookSender:
    """Sends the commands of one writer, so many side by side."""

    def __init__(self, settings: WebhookSettings, place: Place) -> None:
        import httpx  # noqa: PLC0415 - only a run needs it

        self._url = settings.url.reveal()
        problem = _problem_of(self._url, insecure=settings.insecure)
        if problem is not None:
            raise ConfigError(f"the channel {place.channel}: {problem[0]}\n  try: {problem[1]}")
        headers = {name: value.reveal() for name, value in settings.headers.items()}
        self._key = None if settings.secret is None else settings.secret.reveal().encode()
        self._secrets = [headers[name] for name, value in settings.headers.items() if value.refers]
        self._secrets += [self._key.decode()] if self._key else []
        self._secrets += [self._url] if settings.url.refers else []
        self._secrets += [secret.split()[-1] for secret in self._secrets if " " in secret]  # of `Bearer TOKEN`
        self._parallel = settings.parallel // WRITERS + (place.writer < settings.parallel % WRITERS)
        self._under_way = 0
        self._lock = threading.Lock()
        try:
            self._client = httpx.Client(
                headers={
                    "accept-encoding": "identity",  # what is small on the way might be large here
                    **headers,
                    "content-type": "application/json",
                    "user-agent": "flowops",
                },
                timeout=settings.timeout / SECOND,
                limits=httpx.Limits(max_connections=self._parallel, max_keepalive_connections=self._parallel),
                follow_redirects=False,
            )
        except (ValueError, UnicodeError, OSError) as error:  # its words may hold a header's value
            raise ConfigError(
                f"the channel {place.channel}: a header cannot be sent, or the environment names a proxy or"
                f" certificates that cannot be used ({type(error).__name__})\n  try: check `headers`, HTTPS_PROXY and"
                " SSL_CERT_FILE"
            ) from None
        self._limit = settings.timeout / SECOND
        self._name = f"{place.channel}-{place.writer}"
        self._wanted: queue.SimpleQueue[tuple[Command, Callable[[Command, Answer], None]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._over = False

    @property
    def room(self) -> int:
        """How many more requests may be under way."""
        return self._parallel - self._under_way

    def connect(self, position: None) -> Sequence[str]:  # noqa: ARG002 - the ledger tells
        """Nothing to do: each request finds its connection in the pool."""
        return ()

    def send(self, commands: Sequence[Command], answer: Callable[[Command, Answer], None]) -> None:
        """Begin a request for each."""
        with self._lock:
            self._under_way += len(commands)
        while len(self._threads) < min(self._under_way, self._parallel):
            # Of daemons: a provider that never comes to the end of its answer keeps no engine from ending.
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        for command in commands:
            self._wanted.put((command, answer))

    def position(self) -> None:
        """None: the ledger tells what was answered."""
        return

    def close(self) -> None:
        """Wait for the requests under way, so that their answers are not lost; but not for long."""
        self._over = True
        for _ in self._threads:
            self._wanted.put(None)
        end = time.monotonic() + _LEAVE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._client.close()

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None and not self._over:
            self._one(*wanted)

    def _one(self, command: Command, answer: Callable[[Command, Answer], None]) -> None:
        try:
            found = self._try(command)
        except Exception as error:  # noqa: BLE001 - whatever it is, the courier must hear of the command again
            found = Answer(None, type(error).__name__)
        with self._lock:
            self._under_way -= 1
        answer(command, found)

    def _try(self, command: Command) -> Answer:
        import httpx  # noqa: PLC0415

        headers = {"idempotency-key": command.dispatch_id}
        if self._key is not None:
            headers["flowops-signature"] = signature(self._key, int(time.time()), command.body)
        try:
            with self._client.stream("POST", self._url, content=command.body, headers=headers) as response:
                words = _beginning(response, time.monotonic() + self._limit)
        except httpx.HTTPError as error:
            return Answer(None, self._hidden(shortened(str(error) or type(error).__name__)))
        status = response.status_code
        if 200 <= status < 300:
            return ACCEPTED
        said = f"{status} {_phrase(status)}"
        detail = self._hidden(shortened(f"{said}: {words}" if words else said))
        if status in _AGAIN or status >= 500:
            return Answer(None, detail, _retry_after(response.headers.get("retry-after")))
        return Answer("failed", detail)

    def _hidden(self, words: str) -> str:
        """The words without any secret that the provider may have repeated."""
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return words


def signature(key: bytes, timestamp: int, body: bytes) -> str:
    """The header `Flowops-Signature`: HMAC-SHA256, in hexadecimal, of the timestamp (seconds), a dot and the body."""
    digest = hmac.new(key, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def _beginning(response: httpx.Response, until: float) -> str:
    """The first of the answer; a small one is read to its end, so that the connection can be used again.

    As it came, since a little of what is compressed may be very much; and not after `until` (monotonic clock): what
    counts is known.
    """
    found = b""
    for part in response.iter_raw():
        found += part
        if len(found) > _READ or time.monotonic() >= until:
            break
    return found[:_READ].decode(errors="replace")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None where there is none to be understood."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), _LONGEST_PAUSE)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), _LONGEST_PAUSE)


CHANNEL = Network(WebhookSettings, to_json, WebhookSender)
