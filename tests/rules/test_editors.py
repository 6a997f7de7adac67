"""The JSON Schemas for editors: every key explained, what loads is let pass, what has the wrong shape is marked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bad_examples import HERE, unfold
from typer.testing import CliRunner

from flowops.cli.main import app
from flowops.rules.check_test import read_tests
from flowops.rules.document import Document, Node, read_document
from flowops.rules.editors import SCHEMAS, modeline, schema_of
from flowops.rules.load import load_project

ROOT = Path(__file__).parents[2]
BAD = sorted((HERE / "bad").glob("*.yaml"))
SHAPE = {"FO101", "FO103", "FO105", "FO106", "FO201", "FO203", "FO205", "FO206", "FO207"}
"""Findings about the shape of what is written, which an editor shows too."""

BEYOND = {"mapped-to-nothing", "receipts-source-fields", "identities-source-fields", "delay-until"}
"""Where a schema is too wide: which names under `fields` are declared; that `until: 25:00` is no property's name."""

VALIDATORS = {kind: jsonschema.Draft202012Validator(schema_of(kind)) for kind in SCHEMAS}


def as_editors_read(node: Node) -> Any:
    """YAML 1.2 with its core types, as yaml-language-server reads it."""
    if node.kind == "list":
        return [as_editors_read(item) for item in node.items]
    if node.kind == "mapping":
        return {key.text: as_editors_read(value) for key, value in node.pairs}
    if node.style is not None:
        return node.text
    if node.text in ("", "~", "null", "Null", "NULL"):
        return None
    if node.text.lower() in ("true", "false") and node.text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return node.text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", node.text):
        return int(node.text)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", node.text):
        return float(node.text)
    return node.text


def kind_of(path: str) -> str | None:
    if path == "flowops.yaml":
        return "project"
    if path.startswith("rules/templates/"):
        return "template"
    if path.startswith("rules/policies/"):
        return "policy"
    if path.endswith(".test.yaml"):
        return "test"
    return "plan" if path.startswith("rules/") else None


def complaints(document: Document) -> list[str]:
    kind = kind_of(document.path)
    assert kind is not None
    assert document.root is not None
    return [error.message for error in VALIDATORS[kind].iter_errors(as_editors_read(document.root))]


def documents(folder: Path) -> Iterator[Document]:
    for path in [folder / "flowops.yaml", *sorted((folder / "rules").rglob("*.yaml"))]:
        document = read_document(folder, path)
        if document.root is not None and kind_of(document.path) is not None:
            yield document


def keys(schema: Any, way: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key that a schema names, with what it says of it; definitions apart."""
    if not isinstance(schema, dict):
        return
    for name, said in schema.get("properties", {}).items():
        yield f"{way}.{name}", said
        yield from keys(said, f"{way}.{name}")
    for below in (
        *schema.get("anyOf", ()),
        *schema.get("oneOf", ()),
        schema.get("items"),
        schema.get("additionalProperties"),
    ):
        yield from keys(below, way)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_one(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize("kind", ["project", "plan", "test"])
def test_every_key_has_a_description_and_examples_that_fit(kind: str) -> None:
    schema = schema_of(kind)
    parts = {"": schema, **schema["$defs"]}
    named = [(way, said) for name, below in parts.items() for way, said in keys(below, name)]
    assert len(named) > 40
    for way, said in named:
        assert said.get("description"), way
        assert said.get("examples"), way
        for example in said["examples"]:
            jsonschema.Draft202012Validator({**said, "$defs": schema["$defs"]}).validate(example)


@pytest.mark.parametrize("folder", [ROOT, HERE / "base"], ids=["demo", "base"])
def test_the_examples_of_the_repository_are_let_pass(folder: Path) -> None:
    found = {document.path: complaints(document) for document in documents(folder)}
    assert len(found) >= 3
    assert {path: said for path, said in found.items() if said} == {}


def test_the_examples_of_the_page_are_let_pass(tmp_path: Path) -> None:
    for page in ("language", "channels"):
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        for name, example in re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", text, re.DOTALL):
            path = tmp_path / page / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(example, encoding="utf-8")
    found = {document.path: complaints(document) for document in documents(tmp_path / "language")}
    assert len(found) == 11
    assert {path: said for path, said in found.items() if said} == {}


@pytest.mark.parametrize("example", BAD, ids=lambda path: path.stem)
def test_bad_examples_are_marked_where_their_shape_is_wrong(example: Path, tmp_path: Path) -> None:
    """And never where lint finds nothing in the file: a schema is wider than the reader."""
    loaded = load_project(unfold(example, tmp_path))
    findings = [*loaded.findings, *read_tests(loaded).findings]
    for document in documents(tmp_path):
        codes = {each.code for each in findings if each.path == document.path and each.severity == "error"}
        marked = complaints(document)
        if codes & SHAPE and example.stem not in BEYOND:
            assert marked, (document.path, codes)
        elif not codes:
            assert marked == [], document.path


def test_init_and_the_repository_point_at_the_schemas(tmp_path: Path) -> None:
    """The first lines of rule files lead from where they lie to a file that is what `flowops schema` prints."""
    shop = tmp_path / "shop"
    assert CliRunner().invoke(app, ["init", str(shop)]).exit_code == 0
    for folder in (ROOT, shop):
        for path in [folder / "flowops.yaml", *sorted((folder / "rules").glob("*.yaml"))]:
            kind = kind_of(path.relative_to(folder).as_posix())
            assert kind is not None
            lines = path.read_text(encoding="utf-8").splitlines()
            assert modeline(kind, "" if path.parent == folder else "../") in lines[:3], path
            found = re.search(r"\$schema=(\S+)", "\n".join(lines[:3]))
            assert found is not None
            assert json.loads((path.parent / found[1]).read_text(encoding="utf-8")) == schema_of(kind)


def test_schema_prints_one_and_writes_all(tmp_path: Path) -> None:
    (tmp_path / "flowops.yaml").write_text("flowops: 1\n", encoding="utf-8")
    assert json.loads(CliRunner().invoke(app, ["schema", "plan"]).stdout) == schema_of("plan")
    result = CliRunner().invoke(app, ["schema", "--json", "--project", str(tmp_path)])
    assert json.loads(result.stdout) == {"written": [str(tmp_path / "schema" / f"{kind}.json") for kind in SCHEMAS]}
    for kind in SCHEMAS:
        assert json.loads((tmp_path / "schema" / f"{kind}.json").read_text(encoding="utf-8")) == schema_of(kind)
