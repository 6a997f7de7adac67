"""Every node knows where it stands, every text stays what it is, and nothing that a file holds raises."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowops.rules.document import Document, read_document
from flowops.rules.findings import CODES
from flowops.rules.load import load_project

BASE = Path(__file__).parent / "base"
PLAN = (BASE / "rules" / "reminder.yaml").read_text(encoding="utf-8")
PROJECT = (BASE / "flowops.yaml").read_text(encoding="utf-8")


def read(folder: Path, text: str) -> Document:
    path = folder / "a.yaml"
    path.write_bytes(text.encode())
    return read_document(folder, path)


def test_every_plain_scalar_is_text(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 22:00\nb: no\nc: 0123\nd: ~\ne: 1e3\nf: 2022-04-20\n")
    assert document.data() == {"a": "22:00", "b": "no", "c": "0123", "d": "~", "e": "1e3", "f": "2022-04-20"}


def test_a_byte_order_mark_and_carriage_returns_change_nothing(tmp_path: Path) -> None:
    plain = read(tmp_path, PLAN)
    odd = read(tmp_path, "\ufeff" + PLAN.replace("\n", "\r\n"))
    assert (odd.data(), odd.place(("trigger", "within"))) == (plain.data(), plain.place(("trigger", "within")))


@pytest.mark.parametrize(
    ("text", "offset", "place"),
    [
        ("where: price > x\n", 8, (1, 16)),
        ("where: 'price > ''x'\n", 9, (1, 19)),
        ('where: "price > x"\n', 8, (1, 17)),
        ("where: >-\n  price >\n  x\n", 8, (3, 3)),
        ("where: |\n  price\n  > x\n", 8, (3, 5)),
        ("where: price >\n  x\n", 8, (2, 3)),
        ("{where: price > x}\n", 8, (1, 17)),
    ],
)
def test_a_character_of_a_text_is_found_in_the_file_whatever_the_style(
    tmp_path: Path, text: str, offset: int, place: tuple[int, int]
) -> None:
    document = read(tmp_path, text)
    assert document.place(("where",), offset) == place


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.text(max_size=20), max_size=4), st.booleans())
def test_what_yaml_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, str], flow: bool
) -> None:
    folder = tmp_path_factory.mktemp("yaml")
    text = yaml.safe_dump(data, default_style='"', allow_unicode=True, default_flow_style=flow)
    assert read(folder, text).data() == data


def test_aliases_do_not_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    document = read(tmp_path, "\n".join(lines))
    assert document.root is None
    assert {finding.code for finding in document.findings} == {"FO006"}


def test_deep_nesting_and_large_files_are_refused(tmp_path: Path) -> None:
    assert [finding.code for finding in read(tmp_path, "a: " + "[" * 900 + "]" * 900).findings] == ["FO006"]
    assert [finding.code for finding in read(tmp_path, "a: " + "x" * (1 << 20)).findings] == ["FO001"]


SLIPS = ["", "\n", "\n  ", "\t", "\0", "\uff1a", "\uff0c", "{{ ", "variants: {a: 1%}", "where: x", "null", "any", "-1"]
SLIPS += [*"{}[]:,'\"#|>%?0", ": ", " #", "&a", "*a", "!x", "- ", "? "]


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A rule file in which somebody slipped: pieces lost, doubled, or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(SLIPS) | st.text(max_size=3))
        text = text[:at] + piece + text[end:]
    return text


@settings(max_examples=150)
@given(damaged(PLAN), st.sampled_from([PROJECT]) | damaged(PROJECT))
def test_no_damage_raises_and_every_finding_has_a_place(
    tmp_path_factory: pytest.TempPathFactory, plan: str, project: str
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(BASE, folder, dirs_exist_ok=True)
    (folder / "rules" / "reminder.yaml").write_bytes(plan.encode("utf-8", "surrogatepass"))
    (folder / "flowops.yaml").write_bytes(project.encode("utf-8", "surrogatepass"))
    loaded = load_project(folder)
    shutil.rmtree(folder)
    assert (loaded.project is None) == any(finding.severity == "error" for finding in loaded.findings)
    for finding in loaded.findings:
        assert finding.code in CODES
        text = {"flowops.yaml": project, "rules/reminder.yaml": plan}.get(finding.path)
        if text is not None and finding.line:
            assert finding.line <= text.count("\n") + text.count("\r") + 2
