"""A YAML file as nodes with positions: what is written where, before anything is understood.

Read from libyaml's events, since only these tell a tag, an anchor or an alias from what the loader makes of it. Every
scalar stays the text that it is; whoever declares a type decides what it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from flowops.rules.findings import Finding, finding

Loc: TypeAlias = "tuple[str | int, ...]"
"""Keys and list indices from the top of a document down to a value."""

_DEEPEST = 50
_LARGEST = 1 << 20
_FULL_WIDTH = {chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F) if not chr(code).isalnum()}
_FULL_WIDTH |= {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u3000": " ", "\u00a0": " "}
_COMMA = re.compile(r"\{[^{}]*?([\w-]+):\s+(?!['\"])[^{},\[\]'\"]*\((?:[^(){},]|'[^']*')*,")
_WIDE_COMMA = re.compile("[\uff0c\u3001\uff1b]")  # full-width comma, ideographic comma, full-width semicolon
_CUT_OFF = re.compile(r"[ \t]+#[^\s#].*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(slots=True, eq=False)
class Node:
    """A mapping, list or text. Positions count from 1; `start` and `end` are offsets into the document's text."""

    kind: Literal["mapping", "list", "text"]
    line: int
    column: int
    start: int
    end: int
    flow: bool = False  # inside { } or [ ]
    style: str | None = None  # of a text: None (plain), ', ", |, >
    text: str = ""
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """A key with nothing behind it."""
        return self.kind == "text" and self.style is None and not self.text

    def get(self, key: str) -> Node | None:
        """The value of a key."""
        return next((value for name, value in self.pairs if name.text == key), None)


class Mapping(dict[str, Any]):
    """A mapping's plain data, with the place it was read from."""

    loc: Loc
    node: Node


@dataclass(slots=True)
class Document:
    """One file that was read. `root` is None where nothing could be made of it; then `findings` say why."""

    path: str
    text: str = ""
    root: Node | None = None
    findings: list[Finding] = field(default_factory=list)

    def report(
        self, code: str, loc: Loc, what: str, got: str | None = None, hint: str | None = None, offset: int | None = None
    ) -> None:
        """Add a finding at the value at `loc` (its nearest parent where there is none), `offset` characters into it."""
        line, column = self.place(loc, offset)
        got = " ".join(got.split()) if got else None
        self.findings.append(finding(code, self.path, line, column, what, got=got, hint=hint))

    def report_key(self, code: str, loc: Loc, what: str, got: str | None = None, hint: str | None = None) -> None:
        """Add a finding at the key that leads to `loc`."""
        parent = self.node(loc[:-1])
        key = next((k for k, _ in parent.pairs if k.text == loc[-1]), parent) if parent else None
        line, column = (key.line, key.column) if key else (0, 0)
        self.findings.append(finding(code, self.path, line, column, what, got=got, hint=hint))

    def node(self, loc: Loc) -> Node | None:
        """The node at `loc`, or the nearest one above it.

        Shorthands are written out before they are checked (`without: order` is a list of one mapping), so steps of
        `loc` that the document does not have are passed over.
        """
        node = self.root
        for step in loc:
            below: Node | None = None
            if node is not None and node.kind == "mapping" and isinstance(step, str):
                below = node.get(step)
            elif node is not None and node.kind == "list" and isinstance(step, int) and step < len(node.items):
                below = node.items[step]
            node = below or node
        return node

    def written(self, loc: Loc) -> Loc:
        """`loc` without the list indices that a shorthand left out."""
        node, steps = self.root, list[str | int]()
        for step in loc:
            if isinstance(step, int) and node is not None and node.kind != "list":
                continue
            steps.append(step)
            if node is not None and isinstance(step, int):
                node = node.items[step] if step < len(node.items) else None
            elif node is not None:
                node = node.get(str(step))
        return tuple(steps)

    def is_comment(self, loc: Loc) -> bool:
        """Whether what stands behind the key is a comment."""
        node = self.node(loc)
        return node is not None and self.text[node.end :].split("\n", 1)[0].lstrip().startswith("#")

    def cut_off(self, loc: Loc) -> str | None:
        """What looks like the rest of an unquoted text, and is a comment: ` #1 deal`, with no space behind the `#`."""
        node = self.node(loc)
        found = None if node is None or node.style else _CUT_OFF.match(self.text, node.end)
        return None if found is None else found[0].strip()

    def place(self, loc: Loc, offset: int | None = None) -> tuple[int, int]:
        """Line and column of the value at `loc`; with `offset`, of that character of its text."""
        node = self.node(loc)
        if node is None:
            return 0, 0
        if offset is None or node.kind != "text":
            return node.line, node.column
        at = self._source_offset(node, offset)
        line = self.text.count("\n", 0, at) + 1
        return line, at - (self.text.rfind("\n", 0, at) + 1) + 1

    def _source_offset(self, node: Node, offset: int) -> int:
        """Where the character `offset` of a text stands in the file: escapes and folds are walked along."""
        at = node.start
        if node.style in ("|", ">"):
            at = self.text.find("\n", at) + 1
        elif node.style:
            at += 1
        for character in node.text[:offset]:
            if not character.isspace():
                found = self.text.find(character, at, node.end)
                at = found + 1 if found >= 0 else at
        if offset < len(node.text) and not node.text[offset].isspace():
            found = self.text.find(node.text[offset], at, node.end)
            at = found if found >= 0 else at
        return at

    def data(self) -> Any:
        """Plain data: `Mapping`, list, str, and None for a key without a value."""
        return None if self.root is None else _plain(self.root, ())


def _plain(node: Node, loc: Loc) -> Any:
    if node.kind == "text":
        return None if node.empty else node.text
    if node.kind == "list":
        return [_plain(item, (*loc, index)) for index, item in enumerate(node.items)]
    data = Mapping()
    data.loc, data.node = loc, node
    for key, value in node.pairs:
        data[key.text] = _plain(value, (*loc, key.text))
    return data


def full_width(text: str) -> tuple[int, str, str] | None:
    """The first full-width character outside quotes: its offset, what it is, and what to write instead."""
    bare = _QUOTED.sub(lambda match: " " * len(match[0]), text)
    found = next(((at, char) for at, char in enumerate(bare) if char in _FULL_WIDTH), None)
    if found is None:
        return None
    at, char = found
    if _FULL_WIDTH[char] == " ":  # it looks like one
        return at, f"a space that is none (U+{ord(char):04X})", "write a plain space"
    return at, f"full-width `{char}`", f"write `{_FULL_WIDTH[char]}`"


def read_document(folder: Path, path: Path) -> Document:
    """Read a file of the project, or one beside it, into nodes. Never raises for what is in the file."""
    document = Document((path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix())
    try:
        if path.stat().st_size > _LARGEST:
            document.findings.append(finding("FO001", document.path, 0, 0, "the file is larger than 1 MiB"))
            return document
        document.text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        document.findings.append(finding("FO001", document.path, 0, 0, what, hint="is it there, and readable?"))
        return document
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        document.findings.append(finding("FO001", document.path, 0, 0, what, hint="save the file as UTF-8"))
        return document
    _compose(document)
    return document


def _compose(document: Document) -> None:
    """Build the nodes out of libyaml's events; what the language does not have is reported and ends the reading."""
    try:
        document.root = _build(document, yaml.parse(document.text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        _explain(document, error)
        return
    if document.findings:
        document.root = None
    elif document.root is None or document.root.empty:
        document.root = None
        document.findings.append(finding("FO007", document.path, 0, 0, "the file is empty"))
    else:
        _full_width_commas(document, document.root)


def _full_width_commas(document: Document, node: Node) -> None:
    """A list whose items stand between full-width commas is a list of one text. Whoever means the text quotes it."""
    for below in node.items:
        if below.kind == "text" and below.flow and below.style is None and (found := _WIDE_COMMA.search(below.text)):
            what = f"full-width `{found[0]}` in a list: this is one text"
            place = finding(
                "FO003", document.path, below.line, below.column + found.start(), what, got=below.text,
                hint="write `,`, or quote the text",
            )  # fmt: skip
            document.findings.append(place)
    for below in (*node.items, *(value for _, value in node.pairs)):
        _full_width_commas(document, below)


def _mark(mark: Any) -> Any:
    """Libyaml gives every event its marks, though the types of PyYAML leave them open."""
    return mark


def _build(document: Document, events: Iterator[Any]) -> Node | None:
    root: Node | None = None
    stack: list[Node] = []
    keys: list[Node | None] = []  # per open mapping: the key that waits for its value

    def refuse(event: Any, what: str, hint: str, code: str = "FO006") -> None:
        mark = _mark(event.start_mark)
        document.findings.append(finding(code, document.path, mark.line + 1, mark.column + 1, what, hint=hint))

    def attach(node: Node, event: Any) -> None:
        nonlocal root
        if not stack:
            root = node
        elif stack[-1].kind == "list":
            stack[-1].items.append(node)
        elif (key := keys[-1]) is not None:
            stack[-1].pairs.append((key, node))
            keys[-1] = None
        elif node.kind == "text":
            if (first := next((k for k, _ in stack[-1].pairs if k.text == node.text), None)) is not None:
                refuse(event, f"the key `{node.text}` is there twice", f"the first is in line {first.line}", "FO005")
            keys[-1] = node
        else:
            braces = node.kind == "mapping" and node.flow
            hint = 'quote it: "{{ ... }}"' if braces else "write the key as plain text"
            refuse(event, "a mapping or list stands in place of a key", hint, "FO008" if braces else "FO006")
            keys[-1] = node

    for event in events:
        match event:
            case yaml.AliasEvent():
                refuse(event, f"alias `*{event.anchor}`", "write the value out; the language has no aliases")
                attach(Node("text", 0, 0, 0, 0, text="*"), event)
            case yaml.DocumentStartEvent() if root is not None:
                refuse(event, "a second document begins here", "one plan per file; remove the line `---`")
                return root
            case yaml.ScalarEvent() | yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                start, end = _mark(event.start_mark), _mark(event.end_mark)
                if event.anchor is not None:
                    refuse(event, f"anchor `&{event.anchor}`", "remove it; the language has no anchors")
                if event.tag is not None:
                    refuse(event, f"tag `{event.tag}`", "remove it; the declared type decides what a text means")
                node = Node("text", start.line + 1, start.column + 1, start.index, end.index)
                if isinstance(event, yaml.ScalarEvent):
                    node.text = event.value
                    node.style = event.style if event.style in ("'", '"', "|", ">") else None
                    node.flow = bool(stack) and stack[-1].flow
                    attach(node, event)
                    continue
                node.kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
                node.flow = bool(event.flow_style)
                attach(node, event)
                stack.append(node)
                keys.append(None)
                if len(stack) > _DEEPEST:
                    refuse(event, f"nested deeper than {_DEEPEST} levels", "the language is flat")
                    return None
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                keys.pop()
                stack.pop().end = _mark(event.end_mark).index
            case _:
                pass
    return root


def _explain(document: Document, error: yaml.YAMLError) -> None:
    """Turn libyaml's complaint into the usual cause, where the text shows one."""
    if any(each.code == "FO008" for each in document.findings):  # which is why the rest makes no sense
        return
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).strip()
    if mark is None:
        position = getattr(error, "position", None)
        line = document.text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
        hint = "remove control characters from the file"
        document.findings.append(finding("FO002", document.path, line, 1 if line else 0, problem, hint=hint))
        return
    lines = document.text.split("\n")
    context = getattr(error, "context_mark", None)
    near = [mark.line, mark.line - 1, *([context.line] if context else [])]
    for number in near:
        if not 0 <= number < len(lines):
            continue
        line = lines[number].split(" #", 1)[0]
        if (wide := full_width(line)) is not None:
            at, what, hint = wide
            hint += ", or quote the text"
            document.findings.append(
                finding("FO003", document.path, number + 1, at + 1, what, got=line.strip(), hint=hint)
            )
            return
        if (comma := _COMMA.search(line)) is not None:
            hint = "quote the text, or write the block over several lines"
            what = f"comma in `{comma[1]}` inside {{ }}"
            document.findings.append(
                finding("FO004", document.path, number + 1, comma.end(), what, got=line.strip(), hint=hint)
            )
            return
    advice = _cause(lines, near)
    if advice is None and context is not None and context.line < mark.line:
        begun = _begun(lines[context.line], context.column, str(getattr(error, "context", "")))
        if begun is not None:
            mark, problem, advice = context, *begun
    if advice is None:
        check = "check indentation, quotes and brackets here and in the line above"
        advice = _indentation(lines, mark.line) or check
    got = lines[mark.line].strip() if mark.line < len(lines) else ""
    if not got and mark.line:
        got = lines[min(mark.line, len(lines)) - 1].strip()
    document.findings.append(
        finding("FO002", document.path, mark.line + 1, mark.column + 1, problem, got=got or None, hint=advice)
    )


def _begun(line: str, column: int, context: str) -> tuple[str, str] | None:
    """What began in an earlier line and was not ended, where that is why a later one is not understood."""
    if "quoted scalar" in context:
        quote = line[column]
        return f"the quote `{quote}` that opens here is not closed", f"end the text with `{quote}`"
    if "flow" in context:
        closing = "}" if line[column] == "{" else "]"
        return f"the bracket `{line[column]}` that opens here is not closed", f"end it with `{closing}`"
    if "simple key" in context and (glued := re.match(r"\s*-?\s*([\w-]+):(\S+)", line)):
        return "this is one word, and no key", f"a space follows the colon: `{glued[1]}: {glued[2]}`"
    return None


def _indentation(lines: Sequence[str], number: int) -> str | None:
    """The lines above, whose indentation a line should have had."""

    def depth(line: str) -> int:
        return len(line) - len(line.lstrip(" "))

    if not 0 < number < len(lines) or not re.match(r"\s*(- )?[\w-]+:(\s|$)", lines[number]):
        return None
    above = [line for line in lines[:number] if line.strip() and not line.lstrip().startswith("#")]
    if not above:
        return None
    last, here = above[-1], depth(lines[number])
    if here > depth(last) and re.match(r"\s*[\w-]+:\s+[^\s|>&]", last):
        return f"it stands deeper than `{last.strip()}`, which has its value: indent both alike"
    if here not in [depth(line) for line in above]:
        return "it is indented like none of the lines above: indent it as the key beside which it belongs"
    return None


def _cause(lines: Sequence[str], near: Sequence[int]) -> str | None:
    for number in near:
        line = lines[number] if 0 <= number < len(lines) else ""
        if line[: len(line) - len(line.lstrip())].count("\t"):
            return "indent with spaces, not tabs"
        if re.search(r"\{[^}]*\s#", line):
            return "` #` begins a comment; quote the text that holds it"
        if re.search(r"\{[^}]*\w\[\d+\]\.", line):
            return "`[` begins a list inside { }; quote the filter"
        if re.search(r":\s+(['\"])[^'\"]*\1\s*[^\s,}\]#]", line):
            return "a value that begins with a quote ends with the next one; quote the whole value"
        if re.search(r":\s+[@`%]", line):
            return "a text that begins with `@`, a backtick or `%` is quoted"
        if len(re.findall(r":\s", _QUOTED.sub("", line))) > 1 and "{" not in line:
            return "a text that holds `: ` is quoted"
    return None
