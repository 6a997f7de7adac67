"""J1 and J1s as a Bytewax flow keyed by user, as Bytewax's documentation has stateful flows built.

`stateful_batch` holds one logic object per user, which asks to be woken with `notify_at` when its wait falls due; the
events that nobody hears are dropped before they are keyed, a logic with nothing pending is discarded, input and
output are Bytewax's own file connectors, and recovery is on with the default epochs of 10 seconds.

`notify_at` is asked on the wall clock, so the log counts as if it happened from now on, as in a live flow: no timer
falls due while the log is read at full speed. A wait ends by the user's own next event, and at the end of the input
what the log's last event has reached is fired. What this flow does not do: restore the order of events that came up
to 5 seconds late (its answer differs from the exact one by a few), hold a timer back until the backlog of an outage has
been read, or write a loss, evidence or an outcome.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bytewax.operators as op
import msgspec
from bytewax.connectors.files import FileSink, FileSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from loops import HOUR, ORDER, VIEW, CategoryEvent, Event, line
from projects import CATEGORY

Wait = tuple[int, str, str]
Heard = CategoryEvent | Event


class Reached:
    """How far the log has been read; tells each user, when the input has ended, what is due by then."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.highest = 0
        self.started = datetime.now(UTC)

    def see(self, ts: int) -> None:
        if self.first is None:
            self.first = ts
        self.highest = max(self.highest, ts)

    def on_the_wall(self, ts: int) -> datetime:
        """When the log's instant `ts` is, had the log begun when the flow did."""
        return self.started + timedelta(milliseconds=ts - (self.first or 0))


class Absence(StatefulBatchLogic[Heard, str, Wait]):
    """One user's wait: deadline, user, sku."""

    def __init__(self, reached: Reached, wait: Wait | None) -> None:
        self.reached = reached
        self.hold(wait)

    def hold(self, wait: Wait | None) -> None:
        self.wait = wait
        self.at = self.reached.on_the_wall(wait[0]) if wait else None

    def on_batch(self, values: list[Heard]) -> tuple[Iterable[str], bool]:
        fired = []
        for e in values:
            wait = self.wait
            if wait and wait[0] <= e.ts:
                fired.append(line(wait)[:-1])
                self.wait = wait = None
            if e.event == ORDER:
                self.wait = None
            elif not wait:
                self.hold((e.ts + HOUR, e.user_id, e.sku))
        return fired, self.wait is None

    def on_notify(self) -> tuple[Iterable[str], bool]:
        return ([line(self.wait)[:-1]] if self.wait else []), StatefulBatchLogic.DISCARD

    def on_eof(self) -> tuple[Iterable[str], bool]:
        if self.wait and self.wait[0] <= self.reached.highest:
            return [line(self.wait)[:-1]], StatefulBatchLogic.DISCARD
        return [], StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return self.at if self.wait else None

    def snapshot(self) -> Wait:
        assert self.wait is not None  # a logic without one was discarded
        return self.wait


def build(job: str, log: Path, out: Path) -> Dataflow:
    """The flow of `J1` or `J1s` over one file."""
    reached = Reached()
    kind: type[Heard] = Event if job == "J1" else CategoryEvent
    decode = msgspec.json.Decoder(kind).decode

    def heard(lines: list[str]) -> list[tuple[str, Heard]]:
        keyed = []
        for text in lines:
            e = decode(text)
            reached.see(e.ts)
            if e.event == ORDER or (e.event == VIEW and (not isinstance(e, CategoryEvent) or e.category == CATEGORY)):
                keyed.append((e.user_id, e))
        return keyed

    flow = Dataflow(f"per_user_{job.lower()}")
    lines = op.input("read", flow, FileSource(log))
    events = op.flat_map_batch("heard", lines, heard)
    fired = op.stateful_batch("absence", events, lambda wait: Absence(reached, wait))
    op.output("write", fired, FileSink(out))
    return flow


def main() -> None:
    """Run the flow to the end of the log, with a new recovery store."""
    parser = argparse.ArgumentParser(description="Run J1 or J1s as a Bytewax flow keyed by user.")
    parser.add_argument("job", choices=("J1", "J1s"))
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.out.parent) as store:
        init_db_dir(Path(store), 1)  # type: ignore[no-untyped-call]
        flow = build(given.job, given.log, given.out)
        given.out.unlink(missing_ok=True)
        recovery = RecoveryConfig(store)  # type: ignore[no-untyped-call]
        cli_main(flow, epoch_interval=timedelta(seconds=10), recovery_config=recovery)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
