"""Many more pairs than the tests try, on all cores: plans with a log against the model, expressions against DuckDB.

`make fuzz`, or with what is wanted of it: `make fuzz ARGS='--only plans --seed 17'`. What fails is printed as small as
it can be made, and its seed is added to `tests/seeds.txt`, which the tests replay.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import pairwise
from random import SystemRandom

import oracle
import pairs

from seeds import keep

BATCH = oracle.BATCH
ENOUGH = 10
"""After so many failures of a kind no more are looked for: each takes its time to be made smaller."""

Failure = tuple[int, str]


def plans(seeds: range) -> list[Failure]:
    with pairs.impatient():
        return [failure for seed in seeds for failure in failing(seed, lambda: pairs.check(seed))]  # noqa: B023


def expressions(seeds: range) -> list[Failure]:
    """All of a batch at once, and where one fails each alone."""
    if not failing(seeds[0], lambda: oracle.check_batch(seeds)):
        return []
    return [failure for seed in seeds for failure in failing(seed, lambda: oracle.check_batch([seed]))]  # noqa: B023


def failing(seed: int, check: Callable[[], None]) -> list[Failure]:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - also one that the engine did not expect
        return [(seed, f"{error}\n{error.__cause__ or ''}")]
    return []


KINDS = {"plans": plans, "expressions": expressions}


def fuzz(kind: str, first: int, count: int, cores: int) -> int:
    """How many seeds failed; says where it is as it goes."""
    print(f"{kind}: seeds {first} to {first + count - 1}, on {cores} cores", flush=True)
    edges = [first, *range(first - first % BATCH + BATCH, first + count, BATCH), first + count]
    begun = said = time.monotonic()
    done = failed = 0
    with ProcessPoolExecutor(cores) as pool:
        batches = {pool.submit(KINDS[kind], range(*each)): each for each in pairwise(edges)}
        for batch in as_completed(batches):
            start, end = batches[batch]
            done += end - start
            for seed, wrong in batch.result():
                failed += 1
                print(f"{kind}: {wrong}\n  again: make fuzz ARGS='--only {kind} --seed {seed}'", flush=True)
                keep(kind, seed)
            if failed >= ENOUGH:
                pool.shutdown(cancel_futures=True)
                break
            if time.monotonic() - said > 10:
                said = time.monotonic()
                print(f"{kind}: {done:,} of {count:,}, {failed} failed, {done / (said - begun):.0f}/s", flush=True)
    print(f"{kind}: {done:,} tried in {time.monotonic() - begun:.0f} s, {failed} failed", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--only", choices=KINDS, help="plans or expressions; left out: both")
    parser.add_argument("--count", type=int, default=100_000, help="so many of each")
    parser.add_argument("--first", type=int, help="the first seed; left out: any, and it is said")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    count = 1 if asked.seed is not None else asked.count
    first = asked.seed if asked.seed is not None else asked.first
    if first is None:
        first = SystemRandom().randrange(10**6, 10**9) * BATCH
    return min(1, sum(fuzz(kind, first, count, asked.cores) for kind in KINDS if asked.only in (None, kind)))


if __name__ == "__main__":
    sys.exit(main())
