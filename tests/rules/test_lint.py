"""Lint finds what is wrong, says so at its place, once, and with a hint that helps.

Each file under `bad/` is a project that differs from `base/` in the files that it spells out (`### path`), beside the
findings that are expected of it. `python tests/rules/test_lint.py` writes the expectations anew: read the difference.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import jsonschema
import pytest
from bad_examples import HERE, example, unfold
from click.testing import Result
from typer.testing import CliRunner

from flowops.cli.main import app
from flowops.errors import ConfigError
from flowops.rules.check_test import read_tests
from flowops.rules.findings import CODES, document_codes, ordered, render
from flowops.rules.load import find_project, load_project

BAD = sorted((HERE / "bad").glob("*.yaml"))
SARIF = json.loads((HERE / "sarif-2.1.0.json").read_text(encoding="utf-8"))
DOCS = HERE.parent.parent / "docs"


def found(example: Path, folder: Path) -> str:
    loaded = load_project(unfold(example, folder))
    return render(ordered([*loaded.findings, *read_tests(loaded).findings])) + "\n"


@pytest.mark.parametrize("example", BAD, ids=lambda path: path.stem)
def test_a_bad_example_gets_exactly_the_findings_that_are_written_beside_it(example: Path, tmp_path: Path) -> None:
    assert found(example, tmp_path) == example.with_suffix(".txt").read_text(encoding="utf-8")


def test_no_code_is_given_twice() -> None:
    codes = [row.split("|")[1].strip() for row in document_codes().splitlines() if row.startswith("| FO")]
    assert sorted(set(codes)) == codes


def test_every_code_has_a_bad_example() -> None:
    expected = "".join(path.with_suffix(".txt").read_text(encoding="utf-8") for path in BAD)
    assert {code for code in CODES if f" {code}: " not in expected} == set()


@pytest.mark.parametrize("example", BAD, ids=lambda path: path.stem)
def test_a_project_runs_unless_it_has_an_error(example: Path, tmp_path: Path) -> None:
    loaded = load_project(unfold(example, tmp_path))
    assert (loaded.project is None) == any(finding.severity == "error" for finding in loaded.findings)


def test_no_code_means_two_things() -> None:
    codes = re.findall(r"^\| (FO\d+) \|", document_codes(), re.MULTILINE)
    assert sorted(codes) == sorted(set(codes)) == sorted(CODES)


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


def lint(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["lint", "--project", str(folder), *arguments])


def test_json_and_its_format_are_the_same(tmp_path: Path) -> None:
    unfold(example("full-width-colon"), tmp_path)
    assert lint(tmp_path, "--json").stdout == lint(tmp_path, "--format", "json").stdout


@pytest.mark.parametrize("name", ["unknown-key", "no-plan", "sms", "not-utf8", "content-syntax"])
def test_sarif_is_what_its_schema_says(name: str, tmp_path: Path) -> None:
    """SARIF 2.1.0: every finding with its rule, level and place; the file's own URI is escaped."""
    unfold(example(name), tmp_path)
    result = lint(tmp_path, "--format", "sarif")
    log = json.loads(result.stdout)
    jsonschema.Draft7Validator(SARIF, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER).validate(log)
    (run,) = log["runs"]
    findings = load_project(tmp_path).findings
    rules = run["tool"]["driver"]["rules"]
    assert len(findings) == len(run["results"]) > 0
    for each, told in zip(findings, run["results"], strict=True):
        assert (told["ruleId"], rules[told["ruleIndex"]]["id"], told["level"]) == (each.code, each.code, each.severity)
        place = told["locations"][0]["physicalLocation"]
        region = place.get("region", {"startLine": 0, "startColumn": 0})
        assert (region["startLine"], region["startColumn"]) == (each.line, each.column)
        assert each.what in told["message"]["text"]


def test_a_sarif_of_nothing_is_one_too(tmp_path: Path) -> None:
    shutil.copytree(HERE / "base", tmp_path, dirs_exist_ok=True)
    result = lint(tmp_path, "--format", "sarif")
    log = json.loads(result.stdout)
    jsonschema.Draft7Validator(SARIF).validate(log)
    assert (result.exit_code, log["runs"][0]["results"]) == (0, [])


def test_paths_for_code_hosts_start_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project may be a folder of the repository; run from within, its own paths are told."""
    unfold(example("correlated-without-key"), tmp_path / "my shop")
    monkeypatch.chdir(tmp_path)
    place = json.loads(lint(Path("my shop"), "--format", "sarif").stdout)["runs"][0]["results"][0]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "my%20shop/rules/reminder.yaml"
    assert lint(Path("my shop"), "--format", "github").stdout.startswith("::warning file=my shop/rules/reminder.yaml,")
    monkeypatch.chdir(tmp_path / "my shop" / "rules")
    assert lint(tmp_path / "my shop", "--format", "github").stdout.startswith("::warning file=rules/reminder.yaml,")


def test_github_gets_a_command_a_line(tmp_path: Path) -> None:
    """Line ends, `%`, and in properties `:` and `,` are escaped, so nothing of a file can pass for a command."""
    unfold(example("comma-in-filter"), tmp_path)
    plan = tmp_path / "rules" / "reminder.yaml"
    plan.write_text(plan.read_text().replace("sku in ('A', 'B')", "amount % 7 in (1, 2)"))
    (tmp_path / "rules" / "a,b:100%.yaml").write_text("")
    comma = (
        "::error file=rules/reminder.yaml,line=4,col=52,title=FO004 comma in a text inside { }::comma in `where` inside"
        ' { }%0Agot: where: amount %25 7 in (1, 2)%0Atry: quote the text: where: "amount %25 7 in (1, 2)"'
    )
    empty = "::error file=rules/a%2Cb%3A100%25.yaml,title=FO007 empty file::the file is empty"
    assert lint(tmp_path, "--format", "github").stdout.splitlines() == [empty, comma]
    plan.unlink()
    (tmp_path / "rules" / "a,b:100%.yaml").unlink()
    shutil.copytree(HERE / "base", tmp_path, dirs_exist_ok=True)
    assert lint(tmp_path, "--format", "github").stdout == ""


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
