"""Pairs of plans and a log, each by its seed: what the engine says of one is what the model says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import driver
import strategies

import chance
import model
from flowops.core.effects import Effects
from flowops.core.matchers import absence, combination, sequence
from flowops.core.records import Micros
from flowops.core.shard import Shard, acting, order, sending

Pair = tuple[strategies.World, Micros | None]
PAIRS = strategies.pairs()


@contextmanager
def impatient() -> Iterator[None]:
    """Whatever the engine does only once it has much to keep (rest, sweep, prune) it does here all the time."""
    advance = Shard.advance

    def sweep_too(self: Shard) -> Effects:
        self._sweep_at = -1
        return advance(self)

    low = {"EVIDENCE": 3, "UNDER_WAY": 4}
    with (
        mock.patch.object(Shard, "advance", sweep_too),
        mock.patch.object(sending, "_SENDS", 0),
        mock.patch.object(order, "OPEN_USERS", 0),
        mock.patch.multiple(sequence, **low),
        mock.patch.multiple(model, **low),
        mock.patch.object(combination, "EVIDENCE", low["EVIDENCE"]),
        mock.patch.object(absence, "UNDER_WAY", low["UNDER_WAY"]),
        mock.patch.object(acting, "UNDER_WAY", low["UNDER_WAY"]),
    ):
        yield


def agree(pair: Pair) -> model.Outcome:
    world, until = pair
    project = world.project
    return driver.agreed(project, *world.partitions(project), until=until)


def check(seed: int) -> None:
    """Fails with the least pair on which engine and model differ."""
    chance.attempt(PAIRS, seed, agree)
