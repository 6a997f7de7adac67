"""`flowops`: the verbs, and what happens to errors.

Verbs import what they need when they run, so that `flowops --help` answers at once.
"""

from __future__ import annotations

import sys
import traceback

import typer

from flowops.cli import backtest, diff, explain, graph, init, lint, new, preview, replay, report, run, schema, sql, test
from flowops.errors import FlowopsError

app = typer.Typer(
    name="flowops",
    help="Marketing operations as code: plans in YAML, run on a stream of events, outcomes in DuckDB.",
    epilog="Begin with `flowops init shop`, then `cd shop`, `flowops replay`, `flowops report`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for name, verb in (
    ("init", init),
    ("new", new),
    ("lint", lint),
    ("test", test),
    ("schema", schema),
    ("graph", graph),
    ("preview", preview),
    ("backtest", backtest),
    ("diff", diff),
    ("explain", explain),
    ("replay", replay),
    ("run", run),
    ("report", report),
    ("sql", sql),
):
    app.command(name)(verb.command)


def main() -> None:
    """Run the command line. A traceback is shown only where it was asked for with -v, or for an error of our own."""
    try:
        app(prog_name="flowops")
    except FlowopsError as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            traceback.print_exc()
        sys.stderr.write(f"flowops: {error}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            traceback.print_exc()
        sys.stderr.write(f"flowops: {error}\n")
        sys.exit(FlowopsError.exit_code)


if __name__ == "__main__":
    main()
