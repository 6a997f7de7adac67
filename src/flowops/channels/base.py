"""What a channel is: its settings, how a command is written, and what takes what was written.

To add a channel: one file with its settings, its encoder and its outlet or sender, and one line in
`channels/__init__.py`. A channel is either

- **local** (`Outlet`): written to in the dataflow, with a position that a crash is cut back to; or
- **network** (`Sender`): never waited for. A courier (`channels.courier`) sends its commands in a thread of its own,
  decides when to try again, and gives back what the server said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from flowops.core.effects import Dispatch
from flowops.core.records import Micros
from flowops.settings.fields import Cost, Identifier, Wait, refuse
from flowops.settings.model import MAPPING, TEXT, Model, Word, text_or_mapping
from flowops.settings.quiet import Quiet
from flowops.settings.shapes import says


class Receipts(Model):
    """S40: how long a message waits for its receipts before it counts as undelivered."""

    undelivered_after: Annotated[
        Wait, says("How long a message waits for its receipts before it counts as undelivered.", "1h")
    ]


def _receipts(value: Any) -> Any:
    if isinstance(value, str) and value != "assumed":
        refuse("FO106", f"`{value}` is not understood here", "assumed, or {undelivered_after: 1h}")
    return value


ReceiptsOrAssumed: TypeAlias = Annotated[
    Annotated[Receipts, Tag(MAPPING)] | Annotated[Literal["assumed"], Tag(TEXT)],
    Discriminator(text_or_mapping),
    BeforeValidator(_receipts),
]


class Consent(Model):
    """S27: the attribute that must be true, or the one that must not."""

    opt_in: Annotated[Identifier | None, says("The attribute that must be true.", "sms_ok")] = None
    opt_out: Annotated[Identifier | None, says("The attribute that must not be true.", "no_mail")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.opt_in is None) == (self.opt_out is None):
            refuse("FO107", "`consent` is either `opt_in` or `opt_out`", "{opt_in: ATTRIBUTE} or {opt_out: ATTRIBUTE}")
        return self


class Settings(Model):
    """The keys that every channel has: what the decision asks of it."""

    place: ClassVar[str] = "channel"

    type: Annotated[str, says("What kind of channel it is.", "file", "console", "kafka", "redis", "webhook")]
    address: Annotated[
        Identifier | None,
        says(
            "The attribute to send to; who has none is lost as no_address. Left out: no address is needed.",
            "device_token",
        ),
    ] = None
    cost: Annotated[Cost | None, says("Of a message, in the project's currency.", 0.05)] = None
    consent: Annotated[
        Consent | None,
        says(
            "Whom it may write to: `opt_in` names an attribute that must be true, `opt_out` one that must not.",
            {"opt_in": "sms_ok"},
        ),
    ] = None
    receipts: Annotated[
        ReceiptsOrAssumed,
        says(
            "`assumed`: what was sent counts as delivered; else how long receipts are waited for.",
            "assumed",
            {"undelivered_after": "1h"},
        ),
    ] = "assumed"
    quiet: Annotated[
        Quiet | None,
        says(
            "Its own quiet hours, beside those of the plan or the project: both must allow.",
            {"from": "21:00", "to": "09:00", "then": "hold"},
        ),
    ] = None
    limit: Annotated[Annotated[Literal["sms"], Word] | None, says("`sms`: each text must fit into one SMS.", "sms")] = (
        None
    )

    confirms_itself: ClassVar[bool] = False
    """Whether the channel tells what became of a message, whatever `receipts` says: a network channel does."""

    @property
    def undelivered_after(self) -> Micros | None:
        """How long receipts are waited for; None where they are assumed."""
        return self.receipts.undelivered_after if isinstance(self.receipts, Receipts) else None

    @property
    def confirms(self) -> bool:
        """Whether results come back: from a provider, or by the receipts that are waited for."""
        return self.confirms_itself or self.undelivered_after is not None

    @property
    def file(self) -> str | None:
        """The file that the channel writes, if it does; no other channel may write it, and `--fresh` removes it."""
        return None


class NetworkSettings(Settings):
    """Of a network channel. Whether its receipts are assumed must be said: goals count from the delivery."""

    confirms_itself: ClassVar[bool] = True

    receipts: Annotated[
        ReceiptsOrAssumed,
        says(
            "`assumed`: what was sent counts as delivered; else how long receipts are waited for.",
            "assumed",
            {"undelivered_after": "1h"},
        ),
    ]


# Local channels


class Encoder(Protocol):
    """Turns a command into what the outlet or sender takes. Called once per command, in the process of its shard."""

    def __call__(self, dispatch: Dispatch) -> bytes:
        """The encoded command."""


class Outlet(Protocol):
    """Takes encoded commands, in one process, and can go back to where it stood.

    `write` is called any number of times in an epoch; `position` once at its end, when everything written must have
    reached the operating system. A run that resumes builds the outlet with the position of the last committed epoch,
    and what was written after it must be gone.
    """

    def write(self, lines: list[bytes]) -> None:
        """Take the commands, in order."""

    def position(self) -> int:
        """Flush, and say where the outlet stands."""

    def close(self) -> None:
        """Flush and give everything back."""


# Network channels

WRITERS = 4
"""Writers of an engine, a fixed number: the commands of a network channel are spread over them by the user's shard."""


class Command(NamedTuple):
    """A command on its way to a network channel. Built of builtins: it crosses processes, and is the writer's state."""

    dispatch_id: str
    user_id: str
    plan: int  # its index, for its quiet hours
    plan_id: str
    task: str
    zone: str  # the user's, in which hours are quiet
    expires_at: Micros
    body: bytes  # encoded


class Answer(NamedTuple):
    """What became of a command. `receipt` is None where it is to be tried again, not before `after` seconds."""

    receipt: Literal["accepted", "failed", "expired"] | None
    detail: str | None = None
    after: float | None = None


ACCEPTED = Answer("accepted")


class Unavailable(Exception):  # noqa: N818 - a state of the server, waited out
    """Nothing can be sent for now; the message is shown to the operator, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which sender this is: of a project's channel, number `writer` of `WRITERS`.

    `begun`: the wall clock when the run began, before which nothing of it can have been sent. `keep`: microseconds for
    which it is remembered what was sent.
    """

    project: str
    channel: str
    writer: int
    begun: Micros
    keep: Micros


class Sender(Protocol):
    """Sends commands, each try once. Its methods are called in one thread, that of its courier; `room` also in others.

    Building one checks what can be checked without the network, and raises ConfigError (a secret that is not there).
    """

    @property
    def room(self) -> int:
        """How many commands it takes now."""

    def connect(self, position: Any) -> Iterable[str]:
        """Reach the server; called before the first `send` and after each `Unavailable`.

        Gives the dispatch ids that are found to have arrived since `position` (of the last committed epoch, None in a
        new run). Raises Unavailable.
        """

    def send(self, commands: Sequence[Command], answer: Callable[[Command, Answer], None]) -> None:
        """Try them, in order. `answer` is called once for each, now or later, from any thread.

        Raises Unavailable when the server cannot take any; the commands not answered are then tried again, in order.
        """

    def position(self) -> Any:
        """Where whatever was not answered yet would begin in what the server keeps; None where it cannot be read."""

    def close(self) -> None:
        """Give everything back; what is under way may end, but is waited for only briefly."""


@dataclass(frozen=True, slots=True)
class Local:
    """A kind of channel that is written in the dataflow. `open`: (settings, the project's folder, position)."""

    settings: type[Settings]
    encode: Encoder
    open: Callable[[Any, Path, int], Outlet]


@dataclass(frozen=True, slots=True)
class Network:
    """A kind of channel that is sent to by couriers. `open`: (settings, which sender)."""

    settings: type[Settings]
    encode: Encoder
    open: Callable[[Any, Place], Sender]


def shortened(words: str, limit: int = 200) -> str:
    """A server's words on one line, cut."""
    line = " ".join(words.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
