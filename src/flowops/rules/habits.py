"""What people write out of habit from another language or tool, and what is written here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from flowops.settings.guess import nearest

_KEYS = {
    "filter": "where", "condition": "where when", "if": "where when", "having": "where", "max": "at_most",
    "limit": "at_most", "timeout": "at_most", "count": "times", "wait": "delay after", "delay": "after",
    "after": "delay", "during": "within", "window": "within", "timeframe": "within", "not": "without",
    "unless": "without", "no": "without", "message": "content", "start": "from", "begin": "from", "until": "to",
    "end": "to", "timezone": "zone", "tz": "zone", "title": "name", "id": "plan", "action": "send", "steps": "send",
    "journey": "send", "when": "trigger", "target": "audience", "segment": "audience",
}  # fmt: skip
"""Keys of other tools; what they are called here, the first that may stand there."""

_TEXT_FUNCTIONS = {"contains": "contains", "startswith": "starts_with", "endswith": "ends_with"}

_OPERATORS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"={2,}"), lambda _: "write `=`"),
    (re.compile(r"&&"), lambda _: "write `and`"),
    (re.compile(r"=>"), lambda _: "write `>=`"),
    (re.compile(r"=<"), lambda _: "write `<=`"),
    (re.compile(r"!(?!=)"), lambda _: "write `not`"),
    (
        re.compile(r"\b(contains|starts_?with|ends_?with)\b(?=\s+\.)", re.IGNORECASE),
        lambda found: f"write `{_TEXT_FUNCTIONS[found[1].lower().replace('_', '')]}(a, b)`",
    ),
    (re.compile(r"(?<=\bin)\s+(?=\[)", re.IGNORECASE), lambda _: "write the list in `( )`"),
)


_VALUE = re.compile(
    r"(?<![{$%])\$?\{\s*((?:\w+\.)?\w+)\s*\}(?!\})|(?<!\w)%((?:\w+\.)?\w+)%(?!\w)|\[\[?\s*((?:\w+\.)?\w+)\s*\]?\]"
)
"""How other tools write a value into a text: `{name}`, `${name}`, `%name%`, `[name]`, `[[name]]`."""


def values(text: str) -> Iterator[tuple[int, str, str]]:
    """What looks like a value of another tool in a text: where, what, and the value's name."""
    for found in _VALUE.finditer(text):
        yield found.start(), found[0], found[1] or found[2] or found[3]


def meant(key: str, known: Iterable[str]) -> str | None:
    """The key that was probably meant: the nearest one, else what another tool calls so."""
    names = list(known)
    near = nearest(key, names)
    return near or next((name for name in _KEYS.get(key.lower(), "").split() if name in names), None)


def foreign(outside: str) -> tuple[int, str, str] | None:
    """The first operator of another language in a filter whose texts are blanked: where, what, what to write."""
    found = [(match.start(), match, hint) for pattern, hint in _OPERATORS if (match := pattern.search(outside))]
    if not found:
        return None
    at, match, hint = min(found, key=lambda each: each[0])
    return at, match[0].strip() or "[", hint(match)
