"""Two versions of a project's rules, from what an operator has: plan files, folders, a revision of git."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from flowops.errors import ConfigError, RuleError
from flowops.rules.document import read_document
from flowops.rules.findings import has_errors, render
from flowops.rules.load import PROJECT_FILE, Loaded, find_project, load_project, plan_files


@dataclass(frozen=True, slots=True)
class Versions:
    """Both compiled, on the data of the newer one. `renamed`: the plan's ids in the two files, where they differ."""

    old: Loaded
    new: Loaded
    renamed: tuple[str, str] | None = None


def versions(old: str, new: str | None, project: Path | None) -> Versions:
    """Read both. `old` is a plan file, a project's folder, or a revision; `new` a file or a folder, or what lies here.

    Raises ConfigError for what is none of these, RuleError where one of them does not compile.
    """
    first, second = Path(old), None if new is None else Path(new)
    if second is not None and not second.exists():
        raise ConfigError(
            f"NEW is a plan file or a project's folder; there is no {new}\n  try: leave it out, for what lies here"
        )
    base = find_project(Path.cwd() if project is None else project)
    if second is not None and second.is_dir():
        base, second = _project_in(second), None
    if first.is_dir() and second is None:
        return Versions(_compiled(f"OLD, {old},", base, rules=_project_in(first)), _compiled("NEW", base))
    if first.is_file():
        return _of_plan(base, first, second)
    if first.is_dir():
        raise ConfigError(f"OLD is a folder ({old}) and NEW a file ({new})\n  try: two plan files, or two folders")
    with _revision(base, old) as rules:
        if second is None:
            return Versions(_compiled(f"OLD, of {old},", base, rules=rules), _compiled("NEW", base))
        if not second.absolute().is_relative_to(base):
            raise ConfigError(f"{new} is not in the project {base}, so {old} has no other version of it")
        before = rules / second.absolute().relative_to(base)
        if not before.is_file():
            raise ConfigError(
                f"there is no {new} in {old}\n  try: `flowops backtest` says what a plan that is new would have done"
            )
        return _of_plan(base, before, second, shown=(f"{rules}/", f"{old}:"))


def _of_plan(base: Path, old: Path, new: Path | None, shown: tuple[str, str] | None = None) -> Versions:
    """The project with the one file, and with the other in its place."""
    others = {path: _id_of(path) for path in plan_files(base)}
    was = _id_of(old)
    if new is None:
        same = [path for path, plan in others.items() if plan == was and path.resolve() != old.resolve()]
        if not same:
            raise ConfigError(
                f"no other file of {base} has the plan `{was}` of {old}\n  try: name it: `flowops diff {old} NEW`"
            )
        new = same[0]
    now = _id_of(new)
    own = {old.resolve(), new.resolve()}
    rest = [path for path, plan in others.items() if plan not in (was, now) and path.resolve() not in own]
    first = _compiled(f"OLD, {old},", base, plans=[*rest, old], shown=shown)
    second = _compiled(f"NEW, {new},", base, plans=[*rest, new])
    return Versions(first, second, (was, now) if was is not None and now is not None and was != now else None)


def _compiled(
    which: str,
    base: Path,
    *,
    rules: Path | None = None,
    plans: Sequence[Path] | None = None,
    shown: tuple[str, str] | None = None,
) -> Loaded:
    loaded = load_project(base, rules=rules, plans=plans)
    if loaded.project is None:
        wrong = [each for each in loaded.findings if has_errors([each])]
        if shown is not None:
            which = which.replace(*shown)
            wrong = [replace(each, path=each.path.replace(*shown)) for each in wrong]
        raise RuleError(f"{which} does not compile\n{render(wrong)}")
    return loaded


def _id_of(path: Path) -> str | None:
    """The plan's id; None where the file does not say it."""
    root = read_document(path.parent, path).root
    node = root.get("plan") if root is not None else None
    return node.text if node is not None and node.kind == "text" else None


def _project_in(folder: Path) -> Path:
    if not (folder / PROJECT_FILE).is_file():
        raise ConfigError(f"no {PROJECT_FILE} in {folder}: a folder to compare is a project's")
    return folder.absolute()


@contextmanager
def _revision(base: Path, revision: str) -> Iterator[Path]:
    """The rule files as git has them of a revision, in a folder that is gone afterwards."""
    known = _git(base, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if known is None:
        raise ConfigError(
            f"OLD is a plan file, a project's folder, or a revision of git; {revision} is none of them\n"
            "  try: `flowops diff HEAD` for what git had last"
        )
    packed = _git(base, "archive", "--format=tar", known.decode().strip(), "--", PROJECT_FILE, "rules")
    if packed is None:
        raise ConfigError(f"{revision} has no {PROJECT_FILE} or no rules/ of {base}")
    with TemporaryDirectory() as folder:
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(folder, filter="data")
        except tarfile.TarError as error:  # a link that leads out of the project
            raise ConfigError(f"the rule files of {revision} cannot be laid out: {error}") from error
        yield Path(folder)


def _git(base: Path, *arguments: str) -> bytes | None:
    """What git says; None where it fails, or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(base), *arguments], capture_output=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
