"""An engine on several machines: its supervisors find each other, begin together and stop together.

Each host of the cluster runs one supervisor with one worker. Several times a second every supervisor sends all others a
few datagrams (UDP, on the number of the port on which its worker is reached by TCP): what it is ready for, whether it
is stopping, and the cells of the pace table that its worker writes, which the others copy into theirs: readers of all
hosts keep step by it. What gets lost is said again.

A **generation** is one life of the cluster, named by a number that only grows. Workers of a generation are started when
all supervisors have said that they are ready for it, hence when no worker of an earlier one is left: so nobody resumes
from a state that somebody still writes. Who loses its worker, or starts anew, asks for a new generation; who hears of
one stops its worker and follows.

The datagrams are not authenticated, as the workers' own connections are not: both belong into a network of their own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec

from flowops.errors import ConfigError
from flowops.streaming.pace import Pace
from flowops.streaming.settings import split_address

EVERY: Final = 0.05
"""Seconds between two messages to a peer."""

SILENCE: Final = 15.0
"""Seconds without a message after which a peer counts as lost."""

_FRESH = 2.0  # a peer that said something within so many seconds is there
_RESOLVE = 2.0
_CELLS = 100  # of a datagram, so that it stays below 1,400 bytes

Address: TypeAlias = tuple[Any, ...]


class Message(msgspec.Struct, array_like=True, frozen=True):
    """What a supervisor says. `generation`: what it is ready for, 0 for nothing; `running`: it has started its worker.

    `cells`: (place in the pace table, value) of those that its worker has written in this generation.
    """

    cluster: int
    process: int
    generation: int
    running: bool
    stopping: bool
    cells: dict[int, int]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Mirror:
    """The pace table of this host. A cell that differs from what peers said of it was written here."""

    def __init__(self, path: Path) -> None:
        self._cells = Pace(path).cells
        self._known = self._cells.tolist()
        self._ours: set[int] = set()

    def ours(self) -> dict[int, int]:
        """The cells that are written on this host."""
        now = self._cells.tolist()
        known = self._known
        if now != known:
            self._ours.update(place for place, value in enumerate(now) if value != known[place])
            self._known = now
        return {place: now[place] for place in self._ours}

    def take(self, cells: dict[int, int]) -> None:
        """Copy what a peer's worker has written."""
        self.ours()
        for place, value in cells.items():
            if place not in self._ours and 0 <= place < len(self._known):
                self._cells[place] = self._known[place] = value


class Peers:
    """The supervisors of all `hosts`, seen by the one of host number `process`.

    Raises ConfigError when its own address cannot be listened on.
    """

    def __init__(self, hosts: Sequence[str], process: int, project: str) -> None:
        self._hosts = list(hosts)
        self._process = process
        self._cluster = crc32("\n".join([project, *hosts]).encode())
        self._socket = _listening(hosts[process])
        self._guard = threading.Lock()
        self._heard: dict[int, tuple[float, Message]] = {}
        self._addresses: dict[int, Address] = {}
        self._mirror: Mirror | None = None
        self._generation = 0
        self._highest = 0
        self._ready = self._running = self._stopping = False
        self._began = 0.0
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=loop, name=f"peers-{loop.__name__}", daemon=True)
            for loop in (self._speak, self._listen, self._resolve)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Say no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def gather(self, given_up: Callable[[float], bool], waiting: Callable[[str], None]) -> bool:
        """Wait until all are ready for one generation; False if `given_up`, asked with seconds to wait, comes first.

        `waiting` is told, when it changes, for whom.
        """
        with self._guard:
            self._generation = max(self._highest + 1, time.time_ns() // 1_000_000)
            self._ready = True
            self._running = self._stopping = False
        told = ""
        while not self._agreed():
            missing = self._missing()
            if missing and missing != told:
                waiting(missing)
                told = missing
            if given_up(EVERY):
                return False
        return True

    def began(self, pace: Path) -> None:
        """The worker of this host is about to be started, on a table that nobody has written to."""
        with self._guard:
            self._mirror = Mirror(pace)
            self._running = True
            self._began = time.monotonic()

    def ended(self) -> None:
        """The worker of this host is gone."""
        with self._guard:
            self._mirror = None
            self._ready = self._running = False

    def stop(self) -> None:
        """Tell the others that this host is stopping: with one worker less nobody can go on."""
        with self._guard:
            self._stopping = True

    def is_stopping(self) -> bool:
        """Whether a peer has said that it stops."""
        with self._guard:
            return any(
                message.stopping and message.generation == self._generation for _, message in self._heard.values()
            )

    def trouble(self, *, ending: bool = False) -> str | None:
        """Why the worker of this host cannot go on, though it runs; None if it can.

        `ending`: it was told to stop, and so were those of the others, which may be through with it already.
        """
        now = time.monotonic()
        with self._guard:
            if self._highest > self._generation and not ending:
                return "another host began anew"
            for process, host in enumerate(self._hosts):
                heard = self._heard.get(process, (self._began, None))[0]
                if process != self._process and now - max(heard, self._began) > SILENCE:
                    return f"process {process} ({host}) has not been heard of for {SILENCE:.0f} s"
        return None

    def _agreed(self) -> bool:
        """Whether all are ready for the same; if one is ready for something newer, this host is too from now on."""
        now = time.monotonic()
        with self._guard:
            for heard, message in self._heard.values():
                if now - heard < _FRESH and message.generation > self._generation:
                    self._generation = message.generation + message.running  # one that runs does not wait for this host
            return len(self._heard) == len(self._hosts) - 1 and all(
                now - heard < _FRESH and message.generation == self._generation
                for heard, message in self._heard.values()
            )

    def _missing(self) -> str:
        now = time.monotonic()
        with self._guard:
            return ", ".join(
                f"{process} ({host})"
                for process, host in enumerate(self._hosts)
                if process != self._process and now - self._heard.get(process, (-_FRESH, None))[0] >= _FRESH
            )

    def _speak(self) -> None:
        while not self._over.wait(EVERY):
            with self._guard:
                cells = list(self._mirror.ours().items()) if self._mirror is not None else []
                head = (
                    self._cluster,
                    self._process,
                    self._generation if self._ready else 0,
                    self._running,
                    self._stopping,
                )
                addresses = list(self._addresses.values())
            for at in range(0, max(1, len(cells)), _CELLS):
                data = _encode(Message(*head, dict(cells[at : at + _CELLS])))
                for address in addresses:
                    with contextlib.suppress(OSError):  # unreachable for now; it is said again soon
                        self._socket.sendto(data, address)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                message = _decode(self._socket.recv(2048))
            except (OSError, msgspec.MsgspecError):  # nothing came for now, or something of a stranger
                continue
            process = message.process
            if message.cluster != self._cluster or process == self._process or not 0 <= process < len(self._hosts):
                continue
            with self._guard:
                self._heard[process] = time.monotonic(), message
                self._highest = max(self._highest, message.generation)
                if self._mirror is not None and message.running and message.generation == self._generation:
                    self._mirror.take(message.cells)

    def _resolve(self) -> None:
        """Look the peers' addresses up, again and again: a pod that was replaced has another one."""
        wait = 0.0
        while not self._over.wait(wait):
            wait = _RESOLVE
            for process, host in enumerate(self._hosts):
                if process != self._process:
                    with contextlib.suppress(OSError):  # a name that does not exist yet
                        address = _address(host, self._socket.family)
                        with self._guard:
                            self._addresses[process] = address


def _address(host: str, family: int) -> Address:
    name, port = split_address(host)
    return socket.getaddrinfo(name, port, family, socket.SOCK_DGRAM)[0][4]


def _listening(host: str) -> socket.socket:
    name, port = split_address(host)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"{host} is no address of this machine that can be listened on ({error.strerror or error}): check"
            " --hosts and --process"
        ) from error
    listener.settimeout(0.5)
    return listener
