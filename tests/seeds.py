"""How many pairs are drawn, and the seeds that ever failed."""

from __future__ import annotations

import os
from pathlib import Path

FUZZED = int(os.environ.get("FLOWOPS_FUZZ", "5000"))
"""Of each kind: so many seeds, from 0. `make fuzz` tries more."""

FILE = Path(__file__).with_name("seeds.txt")
"""A line each: the kind, the seed, and, once it is known, what was wrong. `make fuzz` adds those that fail."""


def kept(kind: str) -> list[int]:
    lines = [line.split(maxsplit=2) for line in FILE.read_text().splitlines() if line and line[0] != "#"]
    return [int(seed) for of, seed, *_ in lines if of == kind]


def keep(kind: str, seed: int) -> None:
    if seed not in kept(kind):
        with FILE.open("a") as file:
            file.write(f"{kind} {seed}\n")
