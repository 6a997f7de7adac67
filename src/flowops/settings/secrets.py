"""Values that come from the environment or from a file when a connection is made, and never stand anywhere else.

In `flowops.yaml` stands only where a secret is: `${KAFKA_PASSWORD}` (also inside a text: `Bearer ${TOKEN}`),
`{env: NAME}` or `{file: /run/secrets/x}`. The model keeps that reference; `reveal` is called by whoever connects, and
what it gives is kept in no model, state, message or error.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import PlainSerializer, PlainValidator

from flowops.errors import ConfigError
from flowops.settings.fields import as_text, refuse
from flowops.settings.guess import one_of
from flowops.settings.shapes import SECRET, Shaped

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HINT = "say where it is: ${NAME}, {env: NAME} or {file: /run/secrets/name}"


class Filled:
    """A text with references in it, as written; equal when written alike."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Filled({self.text!r})"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filled) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def refers(self) -> bool:
        """Whether anything in it comes from elsewhere."""
        return self.text.startswith("file:") or _REFERENCE.search(self.text) is not None

    def reveal(self) -> str:
        """The text with its references filled in. Raises ConfigError, naming the reference, where one leads nowhere."""
        if self.text.startswith("file:"):
            return _of_file(self.text.removeprefix("file:"))
        return _REFERENCE.sub(lambda match: _of_environment(match[1]), self.text)


def _of_environment(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"the environment has no {name}, which flowops.yaml refers to: set it, or name another")
    return value


def _of_file(path: str) -> str:
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"the secret in {path}, which flowops.yaml refers to, cannot be read: {reason}") from error
    if not value:
        raise ConfigError(f"the secret in {path}, which flowops.yaml refers to, is empty")
    return value


def parse_filled(value: Any) -> Filled:
    """A text, which may hold references, or `{env: NAME}`, `{file: PATH}`."""
    if isinstance(value, Filled):
        return value
    if isinstance(value, dict):
        if len(value) != 1 or not value.keys() <= {"env", "file"}:
            unknown = next((key for key in value if key not in ("env", "file")), None)
            refuse(
                "FO107", "a secret is either `env` or `file`", one_of(unknown, ("env", "file")) if unknown else _HINT
            )
        ((kind, place),) = value.items()
        text = as_text(place, "a file's path" if kind == "file" else "a name of the environment")
        value = f"file:{text}" if kind == "file" else f"${{{text}}}"
    text = as_text(value)
    if not text.isprintable() or len(text) > 2000:
        refuse("FO108", "a text of several lines or of more than 2000 characters", "use one line")
    for name in _REFERENCE.findall(text):
        if not _NAME.fullmatch(name):
            refuse("FO108", f"`{name}` is not a name of the environment", "use letters, digits and `_`: ${API_TOKEN}")
    return Filled(text)


def parse_secret(value: Any) -> Filled:
    """As `parse_filled`, but what is written out is refused: files of rules are read by many."""
    filled = parse_filled(value)
    if not filled.refers:
        refuse("FO210", "a secret is written out here", _HINT, secret=True)
    return filled


def parse_url(value: Any) -> Filled:
    """A URL, which may hold references; a password that is written out in it is refused."""
    url = parse_filled(value)
    try:
        password = urlsplit(url.text).password
    except ValueError:
        refuse("FO108", "this is not a URL", "write it as `https://host/path` or `redis://host:6379/0`", secret=True)
    if password and not Filled(password).refers:
        refuse("FO210", "a password is written out in this URL", _HINT, secret=True)
    return url


FilledText = Annotated[Filled, PlainValidator(parse_filled), PlainSerializer(str, return_type=str), Shaped(SECRET)]
Secret = Annotated[Filled, PlainValidator(parse_secret), PlainSerializer(str, return_type=str), Shaped(SECRET)]
Url = Annotated[Filled, PlainValidator(parse_url), PlainSerializer(str, return_type=str), Shaped(SECRET)]
