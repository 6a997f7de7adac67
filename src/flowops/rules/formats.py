"""Findings for machines that show them beside the code: GitHub's annotations, and SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from flowops import __version__
from flowops.rules.findings import CODES, Code, Finding

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_CODES = list(CODES.values())
_PLACES = {each.code: place for place, each in enumerate(_CODES)}


def render_github(findings: Sequence[Finding], *, below: str = "") -> str:
    """Workflow commands, one a line. `below`: the project's folder as seen from the repository's, with its slash."""
    lines = []
    for each in findings:
        place = {"file": below + each.path}
        if each.line:
            place |= {"line": str(each.line), "col": str(each.column)}
        place["title"] = f"{each.code} {CODES[each.code].title}"
        shown = ",".join(f"{key}={_property(value)}" for key, value in place.items())
        lines.append(f"::{each.severity} {shown}::{_escaped(message(each))}\n")
    return "".join(lines)


def render_sarif(findings: Sequence[Finding], *, below: str = "") -> str:
    """A SARIF log with one run. `below` as for `render_github`."""
    driver = {
        "name": "flowops",
        "semanticVersion": __version__,
        "rules": [_rule(code) for code in _CODES],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each, below) for each in findings],
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2)


def message(each: Finding) -> str:
    """What is wrong, with what was got and what to try, as one text."""
    parts = [each.what]
    if each.got and f"`{each.got}`" not in each.what:
        parts.append(f"got: {each.got}")
    if each.hint is not None:
        parts.append(f"try: {each.hint}")
    return "\n".join(parts)


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.code,
        "shortDescription": {"text": code.title},
        "fullDescription": {"text": code.explanation},
        "defaultConfiguration": {"level": code.severity},
    }


def _result(each: Finding, below: str) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": quote(below + each.path), "uriBaseId": "%SRCROOT%"}}
    if each.line:
        physical["region"] = {"startLine": each.line, "startColumn": each.column}
    return {
        "ruleId": each.code,
        "ruleIndex": _PLACES[each.code],
        "level": each.severity,
        "message": {"text": message(each)},
        "locations": [{"physicalLocation": physical}],
    }


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
