"""The webhook channel beside its contract: what is sent, what is tried again, what is final, what is hidden."""

from __future__ import annotations

import calendar
import contextlib
import gzip
import hashlib
import hmac
import logging
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from channels.desk import Desk, command, write_channel
from channels.endpoint import OK, Answering, Endpoint, Reply
from flowops.channels.courier import wall_clock
from flowops.core.time import SECOND
from flowops.errors import ConfigError

MakeDesk = Callable[..., Desk]
Raw = Callable[[Callable[[socket.socket], None]], dict[str, object]]
SECRET = "s3cret-of-the-shop"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.stop()


def write(folder: Path, endpoint: Endpoint, **more: object) -> None:
    write_channel(folder, {"type": "webhook", "url": endpoint.url, "receipts": {"undelivered_after": "1d"}, **more})


def told(writers: Desk) -> dict[str, tuple[str, str | None]]:
    """What was journalled, by dispatch id."""
    return {line["dispatch_id"]: (line["receipt"], line["detail"]) for line in writers.journal()}


def test_a_request_carries_the_message_its_key_and_a_signature(
    endpoint: Endpoint, desk: MakeDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSH_SECRET", SECRET)
    monkeypatch.setenv("PUSH_TOKEN", "t0ken")
    write(tmp_path, endpoint, secret="${PUSH_SECRET}", headers={"Authorization": "Bearer ${PUSH_TOKEN}", "X-Shop": "1"})
    writers = desk()
    sent = command(1)
    writers.send([sent])
    writers.settle()
    (request,) = endpoint.requests
    assert (request.path, request.body, request.key) == ("/send", sent.body, sent.dispatch_id)
    assert request.headers["content-type"] == "application/json"
    assert (request.headers["authorization"], request.headers["x-shop"]) == ("Bearer t0ken", "1")
    stamp, digest = (part.partition("=")[2] for part in request.headers["flowops-signature"].split(","))
    assert abs(int(stamp) - time.time()) < 60
    assert digest == hmac.new(SECRET.encode(), f"{stamp}.".encode() + sent.body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "first", [Reply(500), Reply(503), Reply(429), Reply(408), Reply(425), Reply(0), Reply(200, delay=2.0)], ids=repr
)
def test_what_may_pass_is_tried_again_with_the_same_key(
    endpoint: Endpoint, desk: MakeDesk, tmp_path: Path, first: Reply
) -> None:
    """5xx, 429, a connection that is closed, an answer that does not come within the timeout."""
    endpoint.answering = lambda request, before: OK if before else first  # noqa: ARG005
    write(tmp_path, endpoint, timeout="1s")
    writers = desk()
    writers.send([command(1)])
    writers.settle()
    assert len(endpoint.requests) == 2
    assert {request.key for request in endpoint.requests} == {command(1).dispatch_id}
    assert told(writers) == {command(1).dispatch_id: ("accepted", None)}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 301, 307, 302])
def test_any_other_answer_is_final_and_the_providers_words_are_kept_short(
    endpoint: Endpoint, desk: MakeDesk, tmp_path: Path, status: int
) -> None:
    """Redirects are not followed: a message goes where the operator said, or nowhere."""
    words = b"no such device\n" + b"x" * 100_000
    elsewhere = Endpoint()
    answer = Reply(status, words, {"location": elsewhere.url})
    endpoint.answering = lambda request, before: answer  # noqa: ARG005
    write(tmp_path, endpoint)
    writers = desk()
    writers.send([command(1)])
    writers.settle()
    elsewhere.stop()
    assert (len(endpoint.requests), len(elsewhere.requests)) == (1, 0)
    receipt, detail = told(writers)[command(1).dispatch_id]
    assert receipt == "failed"
    assert detail is not None
    assert detail.startswith(f"{status} ")
    assert "no such device x" in detail
    assert len(detail) <= 200
    writers.send([command(1)])  # as after a crash
    writers.settle()
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_provider_that_asks_to_be_left_alone_is_left_alone(
    endpoint: Endpoint, desk: MakeDesk, tmp_path: Path, form: str
) -> None:
    """Retry-After holds back all messages of a writer, not only the one that was refused."""
    until = time.gmtime(time.time() + 3)
    value = "2" if form == "seconds" else time.strftime("%a, %d %b %Y %H:%M:%S GMT", until)
    refused = Reply(429, b"slow down", {"retry-after": value})
    endpoint.answering = lambda request, before: refused if len(endpoint.requests) == 1 else OK  # noqa: ARG005
    write(tmp_path, endpoint)
    writers = desk()
    writers.send([command(1, "one")])
    writers.wait(lambda: len(endpoint.requests) == 1)
    time.sleep(0.2)
    writers.send([command(2, "one"), command(3, "one")])
    writers.settle()
    assert len(endpoint.requests) == 4
    again = min(request.at for request in endpoint.requests[1:])
    assert again >= (endpoint.requests[0].at + 1.8 if form == "seconds" else calendar.timegm(until))
    assert len(endpoint.accepted) == 3


def test_a_message_that_nobody_takes_expires(endpoint: Endpoint, desk: MakeDesk, tmp_path: Path) -> None:
    """S31a: retries end at `expires_at`, on time, however long the next wait would be."""
    endpoint.answering = lambda request, before: Reply(503, headers={"retry-after": "3600"})  # noqa: ARG005
    write(tmp_path, endpoint)
    writers = desk()
    writers.send([command(1, expires_at=wall_clock() + 2 * SECOND)])
    began = time.monotonic()
    writers.settle()
    assert time.monotonic() - began < 10
    assert told(writers)[command(1).dispatch_id][0] == "expired"
    assert len(endpoint.requests) == 1


def test_requests_go_side_by_side_but_not_more_than_parallel(
    endpoint: Endpoint, desk: MakeDesk, tmp_path: Path
) -> None:
    endpoint.answering = lambda request, before: Reply(delay=0.05)  # noqa: ARG005
    write(tmp_path, endpoint, parallel="9")
    writers = desk()
    writers.send(command(number, f"user-{number}") for number in range(120))
    writers.settle()
    assert len(endpoint.accepted) == 120
    assert 4 < endpoint.most_at_once <= 9


def hiding(secret: str) -> Answering:
    """A provider that repeats what it was sent."""
    return lambda request, before: Reply(401, f"bad {request.headers['authorization']}, {secret}".encode())  # noqa: ARG005


def test_a_secret_that_the_provider_repeats_is_hidden(
    endpoint: Endpoint,
    desk: MakeDesk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    said: Callable[[], str],
) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken-from-a-file\n")
    monkeypatch.setenv("PUSH_SECRET", SECRET)
    monkeypatch.setenv("PUSH_TOKEN", "t0ken")
    endpoint.answering = hiding(SECRET)
    headers = {"Authorization": "Bearer ${PUSH_TOKEN}", "X-Api-Key": {"file": str(token)}}
    write(tmp_path, endpoint, secret={"env": "PUSH_SECRET"}, headers=headers)
    writers = desk()
    with caplog.at_level(logging.DEBUG):
        writers.send([command(1)])
        writers.settle()
    writers.save()
    assert endpoint.requests[0].headers["x-api-key"] == "t0ken-from-a-file"
    assert told(writers)[command(1).dispatch_id] == ("failed", "401 Unauthorized: bad ***, ***")
    state = b"".join(path.read_bytes() for path in (tmp_path / ".flowops").rglob("*") if path.is_file())
    for secret in (SECRET, "t0ken"):
        assert secret.encode() not in state
        assert secret not in caplog.text + said()


def test_a_secret_that_is_not_there_is_told_before_anything_is_sent(
    endpoint: Endpoint, desk: MakeDesk, tmp_path: Path
) -> None:
    write(tmp_path, endpoint, secret="${NOT_THERE}")
    with pytest.raises(ConfigError, match="the environment has no NOT_THERE"):
        desk()


def test_a_url_from_the_environment_is_held_to_https(
    desk: MakeDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSH_URL", "http://push.example.com/secret-path")
    write_channel(tmp_path, {"type": "webhook", "url": "${PUSH_URL}", "receipts": {"undelivered_after": "1d"}})
    with pytest.raises(ConfigError, match="shows messages to whoever listens") as refused:
        desk()
    assert "secret-path" not in str(refused.value)


@pytest.mark.parametrize("value", ["9" * 400, "31536000", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_provider_is_left_alone_for_ever(
    endpoint: Endpoint, desk: MakeDesk, tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer that asks for a year would keep all messages of a writer from going out."""
    monkeypatch.setattr("flowops.channels.webhook._LONGEST_PAUSE", 1.0)
    refused = Reply(429, b"slow down", {"retry-after": value})
    endpoint.answering = lambda request, before: OK if before else refused  # noqa: ARG005
    write(tmp_path, endpoint)
    writers = desk()
    writers.send([command(1)])
    writers.settle(10)
    assert len(endpoint.accepted) == 1


@pytest.fixture
def raw() -> Iterator[Raw]:
    """A server that answers each request as it likes: the channel that leads to it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)

        def serve(answering: Callable[[socket.socket], None]) -> dict[str, object]:
            def one(connection: socket.socket) -> None:
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    answering(connection)

            def loop() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()

            threading.Thread(target=loop, daemon=True).start()
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/send"
            return {"type": "webhook", "url": url, "receipts": {"undelivered_after": "1d"}}

        yield serve
        listening.shutdown(socket.SHUT_RDWR)


def test_an_answer_without_end_is_not_read_to_its_end(raw: Raw, desk: MakeDesk, tmp_path: Path) -> None:
    """A byte now and then is no reason to wait for hours: what counts is the status, and that is known."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 4000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)

    write_channel(tmp_path, {**raw(drip), "timeout": "1s"})
    writers = desk()
    writers.send([command(1)])
    writers.settle(10)
    assert told(writers)[command(1).dispatch_id][0] == "failed"


def test_what_is_small_on_the_way_is_not_large_here(raw: Raw, desk: MakeDesk, tmp_path: Path) -> None:
    body = gzip.compress(bytes(64 << 20))

    def bomb(connection: socket.socket) -> None:
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    write_channel(tmp_path, raw(bomb))
    writers = desk()
    tracemalloc.start()
    writers.send([command(1)])
    writers.settle(10)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told(writers)[command(1).dispatch_id][0] == "failed"
    assert most < 8 << 20


def test_a_provider_that_does_not_answer_holds_no_stop_up(
    raw: Raw, desk: MakeDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four writers wait for what is under way side by side, and not for as long as a request may take."""
    monkeypatch.setattr("flowops.channels.webhook._LEAVE", 1.0)

    def wait(connection: socket.socket) -> None:  # noqa: ARG001
        time.sleep(60)

    write_channel(tmp_path, {**raw(wait), "timeout": "1m"})
    writers = desk()
    writers.send(command(number) for number in range(7))
    writers.wait(lambda: sum(thread.name.startswith("push-") for thread in threading.enumerate()) == 7, 10)
    began = time.monotonic()
    writers.close()
    assert time.monotonic() - began < 3
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("push-"))


def test_a_clock_that_is_put_back_delays_no_retry(
    endpoint: Endpoint, desk: MakeDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long to wait is no time of day."""
    endpoint.answering = lambda request, before: OK if before else Reply(503, headers={"retry-after": "1"})  # noqa: ARG005
    write(tmp_path, endpoint)
    writers = desk()
    writers.send([command(1)])
    writers.wait(lambda: len(endpoint.requests) == 1)
    time.sleep(0.2)
    hour_ago = time.time_ns() - 3600 * 10**9
    monkeypatch.setattr("flowops.channels.courier.time.time_ns", lambda: hour_ago)
    writers.settle(10)
    assert len(endpoint.accepted) == 1
