"""What a message's texts must keep to beside being Liquid: the length of an SMS, and words that nobody may say (S33).

Lint looks at what is certain: the constants of a template, which every message has, and the defaults. What only the
values bring is looked at when a message is decided; one that breaks the rules is not sent (`content_invalid`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from flowops.core.plan import Attributes, Renderer, Steps
from flowops.core.records import Micros
from flowops.errors import ContentError
from flowops.rules.templates import CheckedTemplate, Output

GSM = 160
UCS = 70
"""Units of one SMS: of its 7-bit alphabet, or, where a character is not in that, of UTF-16."""

_ONE = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_TWO = "\f^{}\\[~]|€"
_UNITS = dict.fromkeys(_ONE, 1) | dict.fromkeys(_TWO, 2)
"""GSM 03.38: the basic alphabet, and the extension, whose characters take an escape."""

_LETTERS = r"0-9A-Za-z\u00aa-\u024f\u0370-\u058f"
"""Letters of scripts that write words apart: of these a banned word is a whole word, else any part of the text."""


@dataclass(frozen=True, slots=True)
class Length:
    """Units of a text as an SMS, and how many one message holds."""

    units: int
    limit: int

    @property
    def fits(self) -> bool:
        """Whether one message holds it."""
        return self.units <= self.limit

    def __str__(self) -> str:
        alphabet = "GSM-7" if self.limit == GSM else "UCS-2"
        return f"{self.units} {alphabet} units, and an SMS holds {self.limit}"


def sms_length(text: str) -> Length:
    """How long a text is as an SMS."""
    units = [_UNITS.get(character, 0) for character in text]
    if all(units):
        return Length(sum(units), GSM)
    return Length(len(text.encode("utf-16-le", "surrogatepass")) // 2, UCS)


def foreign(text: str) -> str | None:
    """The first character for which the 7-bit alphabet has no sign."""
    return next((character for character in text if character not in _UNITS), None)


@cache
def banned_pattern(words: tuple[str, ...]) -> re.Pattern[str] | None:
    """Finds any of the words, whatever its capitals; None where there are no words."""
    if not words:
        return None
    letter = re.compile(f"[{_LETTERS}]")
    parts = [
        f"{f'(?<![{_LETTERS}])' if letter.match(word) else ''}{re.escape(word)}"
        f"{f'(?![{_LETTERS}])' if letter.match(word[-1]) else ''}"
        for word in sorted(words, key=len, reverse=True)
    ]
    return re.compile("|".join(parts), re.IGNORECASE)


def always_there(template: CheckedTemplate) -> list[str]:
    """The constants that a rendered text surely has, in order."""
    if template.parts is not None:
        return [part for part in template.parts if isinstance(part, str)]
    from flowops.rules.library import constants  # noqa: PLC0415 - loaded where it is needed

    return constants(template.text)


_TAG = re.compile(r"\{%-?\s*comment\b.*?endcomment\s*-?%\}|\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"")


def spoken(text: str) -> str:
    """A template as long as it is, with blanks for what no message can show: its tags but for the texts in them."""

    def masked(tag: re.Match[str]) -> str:
        shown, at = "", 0
        for literal in () if "comment" in tag[0][:12] else _LITERAL.finditer(tag[0]):
            shown += " " * (literal.start() + 1 - at) + literal[0][1:-1]
            at = literal.end() - 1
        return shown + " " * (len(tag[0]) - at)

    return _TAG.sub(masked, text)


def defaults_of(template: CheckedTemplate) -> list[str]:
    """What stands in for values that are missing, of templates that are constants and plain variables."""
    return [part.default for part in template.parts or () if isinstance(part, Output) and part.default]


def held_to(render: Renderer, *, sms: bool, banned: Sequence[str]) -> Renderer:
    """A renderer that refuses (`ContentError`) what is too long for an SMS or says a banned word."""
    pattern = banned_pattern(tuple(banned))
    if not sms and pattern is None:
        return render

    def held(steps: Steps, user: Attributes, now: Micros, variant: str | None) -> dict[str, str]:
        fields = render(steps, user, now, variant)
        for name, text in fields.items():
            if sms and not (length := sms_length(text)).fits:
                raise ContentError(f"`{name}` has {length}")
            if pattern is not None and (found := pattern.search(text)) is not None:
                raise ContentError(f"`{name}` has the banned word `{found[0]}`")
        return fields

    return held


def blank(fields: Mapping[str, CheckedTemplate]) -> bool:
    """Whether a message of these fields says nothing at all, whoever gets it."""
    return bool(fields) and all(not template.text.strip() for template in fields.values())


def first_banned(words: Iterable[str], text: str) -> re.Match[str] | None:
    """Where a text says the first of its banned words."""
    pattern = banned_pattern(tuple(words))
    return None if pattern is None else pattern.search(text)
