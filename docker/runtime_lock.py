"""The part of requirements.lock that some packages need: the project's own, without its development tools.

    python runtime_lock.py requirements.lock pyproject.toml      # all that a run may need, schema registries too
    python runtime_lock.py requirements.lock setuptools wheel    # these, and what they depend on

The lock says of each package through which others it came (`# via`), so no index is asked.
"""

import re
import sys
import tomllib
from pathlib import Path


def canonical(name: str) -> str:
    """A package's name as the lock writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def blocks_of(lock: str) -> dict[str, str]:
    """The lock by package: the requirement with its hashes, and the comments that say why it is there."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)[1:]
    return {canonical(re.match(r"[A-Za-z0-9._-]+", block)[0]): block for block in blocks}


def needed(blocks: dict[str, str], roots: set[str]) -> set[str]:
    """The roots and what came through them."""
    missing = roots - blocks.keys()
    if missing:
        sys.exit(f"not in the lock: {', '.join(sorted(missing))}; run `make lock`")
    came_through = {
        name: {canonical(parent) for parent in re.findall(r"#\s+(?:via )?([A-Za-z0-9._-]+)", block)}
        for name, block in blocks.items()
    }
    found = set(roots)
    while more := {name for name, parents in came_through.items() if parents & found} - found:
        found |= more
    return found


def main(lock: str, *what: str) -> None:
    """Print the part."""
    blocks = blocks_of(Path(lock).read_text())
    if what == ("pyproject.toml",) or what[0].endswith("pyproject.toml"):
        project = tomllib.loads(Path(what[0]).read_text())["project"]
        listed = project["dependencies"] + project["optional-dependencies"]["schema-registry"]
        what = tuple(re.match(r"[A-Za-z0-9._-]+", line)[0] for line in listed)
    chosen = needed(blocks, {canonical(name) for name in what})
    sys.stdout.write("".join(block for name, block in blocks.items() if name in chosen))


if __name__ == "__main__":
    main(*sys.argv[1:])
