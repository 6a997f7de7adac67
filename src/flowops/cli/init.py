"""`flowops init`: a starter project that runs at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flowops.cli.options import Verbose

FILES = {
    "flowops.yaml": "flowops.yaml",
    "rules/unfinished-order.yaml": "rules/unfinished-order.yaml",
    "rules/unfinished-order.test.yaml": "rules/unfinished-order.test.yaml",
    "gitignore": ".gitignore",
}
"""Of the starter folder -> of the project."""


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where; left out: here.", show_default=False)
    ] = Path(),
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Write a starter project: a plan, and a small made-up shop log to run it on."""
    from importlib.resources import files

    from flowops.cli.shop_log import write_shop_log
    from flowops.errors import ConfigError
    from flowops.rules.editors import FOLDER, write_schemas

    taken = [name for name in (*FILES.values(), "data", "rules", FOLDER) if (folder / name).exists()]
    if taken:
        raise ConfigError(
            f"{folder.absolute()} already has {', '.join(taken)}; nothing was written\n"
            "  try: a new folder: `flowops init shop`"
        )
    starter = files("flowops.cli").joinpath("starter")
    try:
        (folder / "rules").mkdir(parents=True)
        (folder / "data").mkdir()
        for source, target in FILES.items():
            (folder / target).write_bytes(starter.joinpath(source).read_bytes())
        write_schemas(folder)
        events = write_shop_log(folder / "data")
    except OSError as error:
        raise ConfigError(f"cannot write to {folder.absolute()}: {error.strerror or error}") from error
    enter = "" if folder == Path() else f"  cd {folder}\n"
    sys.stdout.write(
        f"A project is in {folder.absolute()}: a plan with its test, and {events:,} made-up events of four days.\n"
        f"Next:\n{enter}"
        "  flowops lint      # are the rules right?\n"
        "  flowops test      # do they do what they should?\n"
        "  flowops replay    # run them over the log\n"
        "  flowops report    # what came of it\n"
        "Then change rules/unfinished-order.yaml and replay again with --fresh.\n"
    )
