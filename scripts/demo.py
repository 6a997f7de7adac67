"""The demo behind `make demo`: a year of real purchases through the plans of this project, and what came of it.

It only gives commands that an operator could give, and shows each before it runs. `scripts/demo.py DIR` works on a copy
of the project in DIR.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import plotext

FLOWOPS = Path(sys.executable).with_name("flowops")
WEEKS = """
    with
        sent as (select date_trunc('week', day) as week, count(*) as messages from dispatches
                 where plan = 'win-back' group by all),
        back as (select date_trunc('week', day) as week, count(distinct (task, user_id)) as attained from goal_events
                 where plan = 'win-back' group by all)
    select strftime(week, '%-d %b') as week, messages, coalesce(attained, 0) as attained
    from sent left join back using (week) order by sent.week
"""
QUERY = """
select
    if(t.arm = 'holdout', 'none (held out)', t.variant) as message,
    count(distinct t.trigger_id) as times,
    count(distinct g.trigger_id) as came_again,
    round(100 * came_again / times, 1) as percent
from triggers as t join outcomes as o using (trigger_id) left join goal_events as g using (trigger_id)
where t.plan = 'fresh-counter' and o.stage in ('delivered', 'holdout')
group by all order by message"""


def main(project: Path) -> None:
    """Replay the project, report, plot, and say where to look next."""
    say(
        "A year of real grocery purchases (data/README.md) runs through three operations plans:",
        *(f"  {path.stem:<16} {first_comment(path)}" for path in plans(project)),
        "The engine handles every purchase in the order of its time, as it would live. Messages go to files in out/.",
    )
    started = time.perf_counter()
    flowops(project, "replay", "--fresh")
    say(f"That took {time.perf_counter() - started:.0f} s. What came of it, plan by plan:")
    flowops(project, "report")
    say(
        "In 2017 nobody was sent any of these messages: who came back did so unasked, and a lift above is chance.",
        "With messages that are sent, the same tables tell what they were worth.",
    )
    plot(json.loads(flowops(project, "sql", WEEKS, "--format", "json", quiet=True)))
    say(
        f"Every decision, message and goal is in {project / 'warehouse' / 'outcomes.duckdb'}: open it with any DuckDB",
        "client, or ask here. For example, which message brought more households back to the fresh counter:",
    )
    flowops(project, "sql", QUERY)
    say(f"The messages themselves: {project / 'out'}. The plans: {project / 'rules'}. Change one and run this again.")


def plans(project: Path) -> list[Path]:
    """The plans of the project, without the tests beside them."""
    return [path for path in sorted((project / "rules").glob("*.yaml")) if not path.name.endswith(".test.yaml")]


def first_comment(path: Path) -> str:
    """The sentence with which a plan's file opens."""
    return path.read_text().splitlines()[0].removeprefix("# ")


def flowops(project: Path, *arguments: str, quiet: bool = False) -> str:
    """Run `flowops ...`, showing the command and what it prints; with `quiet` return the output instead.

    A command that fails ends the demo with its exit code: it has said why.
    """
    if not quiet:
        shown = " ".join(f'"{argument}"' if " " in argument else argument for argument in arguments)
        say(f"$ flowops {shown}")
    done = subprocess.run(  # noqa: S603
        [FLOWOPS, *arguments, "--project", project], stdout=subprocess.PIPE if quiet else None, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


def plot(weeks: list[dict[str, str | int]]) -> None:
    """Messages of win-back by week, and the households that came back."""
    figure = plotext.figure
    figure.clear()
    figure.theme("clear")
    figure.plot_size(100, 16)
    figure.title("win-back, by week: messages, and households that bought within 7 days of theirs")
    places = list(range(len(weeks)))
    for label, column, marker in (("messages", "messages", "braille"), ("came back", "attained", "*")):
        curve = figure.signal(places, [int(week[column]) for week in weeks], marker=marker)
        curve.lines()
        curve.label(label)
        figure.draw(curve)
    levels = list(range(0, max(int(week["messages"]) for week in weeks) + 100, 100))
    figure.ruler("y").lim(0, levels[-1])
    figure.ruler("y").ticks(levels, [str(level) for level in levels])
    figure.ruler("x").ticks(places[::8], [str(week["week"]) for week in weeks[::8]])
    sys.stdout.write("\n")
    figure.show(colorless=not sys.stdout.isatty())


def say(*lines: str) -> None:
    """Print a paragraph, at once: the commands between write to the same terminal."""
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
