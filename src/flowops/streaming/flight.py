"""The commands of a writer that are in flight: handed to network channels, and not answered in a committed epoch.

They are the writer's state, in a log of the state folder: an epoch appends what came and what was answered, so that
a night's messages, held until the morning, are not saved again with every epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from flowops.channels.base import Command
from flowops.errors import StateError
from flowops.streaming.statelog import Place, StateLog

_Frame: TypeAlias = tuple[list[tuple[str, Command]], list[str]]
"""(what came: channel and command, the dispatch ids of what was answered)."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Frame).decode


class Flight:
    """Those of one writer, in the order in which they came."""

    def __init__(self, folder: Path, writer: int, place: Place | None, *, durable: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = StateLog(folder, writer, place, durable=durable)
        self._commands: dict[str, tuple[str, Command]] = {}
        self._came: list[tuple[str, Command]] = []
        self._answered: list[str] = []
        if place is None:
            return
        for frame in self._log.frames():
            try:
                came, answered = _decode(frame)
            except msgspec.MsgspecError as error:
                raise StateError(f"the commands in flight cannot be read: {error}; begin anew with --fresh") from error
            self._commands.update((each[1].dispatch_id, each) for each in came)
            for dispatch_id in answered:
                self._commands.pop(dispatch_id, None)

    def of_channel(self, channel: str) -> list[Command]:
        """Those for one channel, in order."""
        return [command for name, command in self._commands.values() if name == channel]

    def add(self, channel: str, commands: Sequence[Command]) -> list[Command]:
        """Take off with commands; gives those that are not in flight already."""
        new = [command for command in commands if command.dispatch_id not in self._commands]
        for command in new:
            self._commands[command.dispatch_id] = (channel, command)
            self._came.append((channel, command))
        return new

    def land(self, dispatch_ids: Iterable[str]) -> None:
        """They were answered."""
        for dispatch_id in dispatch_ids:
            if self._commands.pop(dispatch_id, None) is not None:
                self._answered.append(dispatch_id)

    def save(self) -> Place:
        """Write down what changed since the last time; where the log stands then."""
        if self._log.wants_rewrite():
            place = self._log.rewrite(_encode((list(self._commands.values()), [])))
        else:
            landed = set(self._answered)  # what came and was answered within the epoch need not be written
            came = [each for each in self._came if each[1].dispatch_id not in landed]
            new = {each[1].dispatch_id for each in self._came}
            place = self._log.append(_encode((came, [each for each in self._answered if each not in new])))
        self._came, self._answered = [], []
        return place

    def close(self) -> None:
        """Close the log."""
        self._log.close()
