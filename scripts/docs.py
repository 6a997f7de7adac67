"""Write the generated pages of docs/, or with `--check` fail where one is out of date: `make docs`, `make lint`.

- docs/commands.md: what `flowops --help` and the help of each command print
- docs/lint.md: the register of the linter's findings
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOWOPS = Path(sys.executable).with_name("flowops")
HEAD = """\
# Commands

Generated from `--help` by `make docs`: do not edit.
"""


def main(check: bool) -> int:
    """Write the pages, or compare them; the exit code."""
    outdated = 0
    for name, text in {"commands.md": commands(), "lint.md": findings()}.items():
        path = ROOT / "docs" / name
        if path.exists() and path.read_text() == text:
            continue
        if check:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run `make docs` and commit it\n")
            outdated = 1
        else:
            path.write_text(text)
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return outdated


def commands() -> str:
    """The page of all commands, in the order in which `flowops --help` lists them."""
    overview = help_of()
    listed = overview.partition("Commands")[2]
    names = re.findall(r"^[│|]?\s+([a-z]+)\s\s", listed, re.MULTILINE)
    if not names:
        sys.exit(f"`flowops --help` lists no commands:\n{overview}")
    sections = [("flowops", overview), *((f"flowops {name}", help_of(name)) for name in names)]
    return HEAD + "".join(f"\n## {title}\n\n```text\n{text}\n```\n" for title, text in sections)


def findings() -> str:
    """The page of findings."""
    return output_of(sys.executable, "-m", "flowops.rules.findings")


def help_of(*arguments: str) -> str:
    """What the help says."""
    lines = output_of(FLOWOPS, *arguments, "--help").strip("\n").splitlines()
    return "\n".join(line.rstrip() for line in lines)


def output_of(*command: str | Path) -> str:
    """What a command prints, without colour and whatever the terminal. One that fails ends this program."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "COLUMNS": "80",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
