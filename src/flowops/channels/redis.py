"""The redis channel: an entry per command on a stream, each once.

The entry and the mark that it is there are written by one script, which Redis runs as a whole: a command that is sent
again, after a crash or an answer that was lost, finds its mark and adds nothing. A script that fails is not undone, so
it takes its mark back where the entry is refused. The order of a user's commands is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BeforeValidator

from flowops.channels.base import ACCEPTED, Answer, Command, Network, NetworkSettings, Place, Unavailable, shortened
from flowops.channels.command import to_json
from flowops.settings.fields import Label, integer
from flowops.settings.model import Word
from flowops.settings.redis import RedisConnection
from flowops.settings.shapes import INTEGER, Shaped, says

if TYPE_CHECKING:
    from redis import Redis

_AT_ONCE = 500

_ADD_ONCE = """
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1]) then
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'dispatch_id', ARGV[3], 'user_id', ARGV[4],
    'plan', ARGV[5], 'task', ARGV[6], 'command', ARGV[7])
  if type(added) == 'table' and added.err then
    redis.call('DEL', KEYS[2])
    return added
  end
  return 1
end
return 0
"""


class RedisSettings(RedisConnection, NetworkSettings):
    """`type: redis`."""

    type: Annotated[Literal["redis"], Word, says("What kind of channel it is.", "redis")]
    stream: Annotated[Label, says("The stream that messages go to.", "push")]
    max_length: Annotated[
        int,
        BeforeValidator(integer(1000, 1_000_000_000)),
        Shaped(INTEGER),
        says("About how many entries the stream keeps: the oldest go first, read or not; left out: 1000000.", 1000000),
    ] = 1_000_000


class RedisSender:
    """Sends the commands of one writer."""

    room: Final = _AT_ONCE

    def __init__(self, settings: RedisSettings, place: Place) -> None:
        self._stream = settings.stream
        self._max_length = settings.max_length
        self._keep_ms = place.keep // 1000
        self._mark = f"flowops:sent:{{{settings.stream}}}:"  # braces: in a cluster, mark and stream share a slot
        self._client: Redis = settings.connect()
        self._script = ""

    def connect(self, position: None) -> Sequence[str]:  # noqa: ARG002 - its marks tell
        """Load the script; the marks make it needless to look for what has arrived."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - only a run needs it

        try:
            self._script = self._client.script_load(_ADD_ONCE)
        except RedisError as error:
            raise Unavailable(_words(error)) from error
        return ()

    def send(self, commands: Sequence[Command], answer: Callable[[Command, Answer], None]) -> None:
        """One round trip. Whatever the server refuses, it is waited out: no command is refused for its content."""
        from redis.exceptions import RedisError  # noqa: PLC0415

        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.evalsha(
                self._script,
                2,
                self._stream,
                self._mark + command.dispatch_id,
                self._keep_ms,
                self._max_length,
                command.dispatch_id,
                command.user_id,
                command.plan_id,
                command.task,
                command.body,
            )
        try:
            answers = pipeline.execute(raise_on_error=False)
        except RedisError as error:
            raise Unavailable(_words(error)) from error
        for command, said in zip(commands, answers, strict=True):
            if isinstance(said, Exception):
                raise Unavailable(_words(said)) from said
            answer(command, ACCEPTED)

    def position(self) -> None:
        """None: its marks tell what has arrived."""
        return

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _words(error: Exception) -> str:
    return shortened(str(error).partition(" script: ")[0]) or type(error).__name__


CHANNEL = Network(RedisSettings, to_json, RedisSender)
