"""Lint finds what is wrong, says so at its place, once, and with a hint that helps.

Each file under `bad/` is a project that differs from `base/` in the files that it spells out (`### path`), beside the
findings that are expected of it. `python tests/rules/test_lint.py` writes the expectations anew: read the difference.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flowops.cli.main import app
from flowops.errors import ConfigError
from flowops.rules.findings import CODES, document_codes, render
from flowops.rules.load import find_project, load_project

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))
DOCS = HERE.parent.parent / "docs"


def unfold(example: Path, folder: Path) -> Path:
    """The project that a bad example stands for. `(none)` takes a file away, `(hex)` gives its bytes."""
    shutil.copytree(HERE / "base", folder, dirs_exist_ok=True)
    parts = re.split(r"^### (.+)\n", example.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        path = folder / name
        if text == "(none)\n":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes.fromhex(text[5:]) if text.startswith("(hex)") else text.encode())
    return folder


def found(example: Path, folder: Path) -> str:
    return render(load_project(unfold(example, folder)).findings) + "\n"


@pytest.mark.parametrize("example", BAD, ids=lambda path: path.stem)
def test_a_bad_example_gets_exactly_the_findings_that_are_written_beside_it(example: Path, tmp_path: Path) -> None:
    assert found(example, tmp_path) == example.with_suffix(".txt").read_text(encoding="utf-8")


def test_every_code_has_a_bad_example() -> None:
    expected = "".join(path.with_suffix(".txt").read_text(encoding="utf-8") for path in BAD)
    assert {code for code in CODES if f" {code}: " not in expected} == set()


@pytest.mark.parametrize("example", BAD, ids=lambda path: path.stem)
def test_a_project_runs_unless_it_has_an_error(example: Path, tmp_path: Path) -> None:
    loaded = load_project(unfold(example, tmp_path))
    assert (loaded.project is None) == any(finding.severity == "error" for finding in loaded.findings)


def test_the_base_has_no_findings() -> None:
    assert load_project(HERE / "base").findings == []


def test_docs_list_every_code() -> None:
    assert (DOCS / "lint.md").read_text(encoding="utf-8") == document_codes()


def test_lint_exits_with_1_for_errors_and_prints_json(tmp_path: Path) -> None:
    example = next(path for path in BAD if path.stem == "unknown-key")
    unfold(example, tmp_path)
    result = CliRunner().invoke(app, ["lint", "--json", "--project", str(tmp_path)])
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["errors"] == len(answer["findings"]) > 0
    assert {"code", "severity", "path", "line", "column", "what", "got", "hint"} == set(answer["findings"][0])


def test_lint_exits_with_0_for_warnings(tmp_path: Path) -> None:
    unfold(next(path for path in BAD if path.stem == "correlated-without-key"), tmp_path)
    result = CliRunner().invoke(app, ["lint", "--project", str(tmp_path)])
    assert result.exit_code == 0
    assert "FO601" in result.stdout


def test_the_project_is_the_nearest_one_upwards(tmp_path: Path) -> None:
    shutil.copytree(HERE / "base", tmp_path / "shop")
    assert find_project(tmp_path / "shop" / "rules" / "templates") == tmp_path / "shop"
    with pytest.raises(ConfigError, match=r"no flowops\.yaml"):
        find_project(tmp_path)
    with pytest.raises(ConfigError, match=r"no flowops\.yaml"):
        load_project(tmp_path)


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    for path in BAD:
        with TemporaryDirectory() as place:
            path.with_suffix(".txt").write_text(found(path, Path(place)), encoding="utf-8")
