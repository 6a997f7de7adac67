"""What lint says: the register of codes, a finding, and how findings are printed.

The register is the only place where a code, its severity and its explanation are written; `docs/lint.md` is made of it.
Codes are stable: one that is no longer used is not given to anything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Code(NamedTuple):
    """One kind of finding."""

    code: str
    severity: Severity
    title: str
    explanation: str


_REGISTER = (
    # Reading a file
    Code("FO001", "error", "file cannot be read", "The file is missing, is no file, or is not UTF-8 text."),
    Code("FO002", "error", "not YAML", "The text breaks YAML's grammar at this place; the usual causes are named."),
    Code(
        "FO003",
        "error",
        "full-width punctuation",
        "A full-width colon, comma, quote or bracket stands where the ASCII one is meant.",
    ),
    Code(
        "FO004",
        "error",
        "comma in a text inside { }",
        "Inside `{ }` and `[ ]` a comma ends the value. Quote the text, or write the block over several lines.",
    ),
    Code("FO005", "error", "duplicate key", "One mapping has the same key twice; only one of them could count."),
    Code(
        "FO006",
        "error",
        "YAML feature that is not part of the language",
        "Tags, anchors, aliases, several documents in a file, and keys that are not plain text are refused.",
    ),
    Code("FO007", "error", "empty file", "A rule file with nothing in it. Delete it, or write the plan."),
    Code("FO008", "error", "unquoted {{ }}", "A text that begins with `{` is a YAML mapping; quote it."),
    # The shape of what is written
    Code("FO101", "error", "unknown key", "The language has no such key at this place."),
    Code("FO102", "error", "missing key", "A key that is needed here is not there."),
    Code("FO103", "error", "key without a value", "The key stands alone; say its value or leave the key out."),
    Code("FO104", "error", "not supported yet", "The key or word belongs to the language, but this version lacks it."),
    Code("FO105", "error", "wrong shape", "A text stands where a list or mapping is expected, or the other way round."),
    Code("FO106", "error", "not one of the allowed words", "Only the words listed are understood here."),
    Code("FO107", "error", "keys that do not fit together", "One key excludes another, or needs another."),
    Code("FO108", "error", "not a name", "Names have letters, digits, `_`, `-` and `.`; some words are reserved."),
    # Values
    Code("FO201", "error", "not a duration", "Durations carry units: `ms s m h d w`, also combined: `1h30m`."),
    Code("FO202", "error", "out of range", "The value is understood but not allowed; it is never clamped."),
    Code(
        "FO203", "error", "not a number or boolean", "A number is written `10` or `0.5`, a boolean `true` or `false`."
    ),
    Code("FO204", "error", "unknown time zone", "Zones are IANA names, as `Asia/Shanghai` or `UTC`."),
    Code("FO205", "error", "not a date or time", "Dates are written `2022-04-20`, with a time `2022-04-20 10:00`."),
    Code("FO206", "error", "not a local time of day", "Times of day are written `09:30`, from `00:00` to `24:00`."),
    Code("FO207", "error", "not a share", "Shares are written in per cent: `10%`."),
    Code("FO208", "error", "dates the wrong way round", "What is written would end before it begins."),
    Code("FO209", "error", "shares that do not add up", "The shares of the variants must sum to exactly 100%."),
    Code(
        "FO210",
        "error",
        "secret written out",
        "Passwords and keys come from the environment or a file: `${NAME}`, `{env: NAME}`, `{file: PATH}`.",
    ),
    Code(
        "FO211",
        "error",
        "longer than the plan lives",
        "What a trigger waits for falls due outside of the plan's dates, so no message is ever sent.",
    ),
    Code("FO212", "error", "step that comes too late", "The `without` before it lasts as long as the step has time."),
    Code(
        "FO213",
        "error",
        "not a cron expression",
        "Five fields: minute, hour, day of the month, month, day of the week.",
    ),
    Code("FO214", "error", "schedule that never comes", "It has no occurrence within the plan's dates."),
    Code("FO215", "error", "quiet without end", "It is quiet at every hour of every day, so no message ever goes out."),
    # Names that must lead somewhere
    Code("FO301", "error", "two plans with one id", "`plan:` is the id and must be unique in the project."),
    Code("FO302", "error", "undeclared event", "Events must be declared under `events:` in flowops.yaml."),
    Code("FO303", "error", "undeclared property or attribute", "It must be declared in flowops.yaml, with its type."),
    Code("FO304", "error", "undeclared channel", "Channels must be declared under `channels:` in flowops.yaml."),
    Code("FO305", "error", "cap that counts nothing", "No plan has the group, tag or id that the scope names."),
    Code("FO306", "error", "no plans", "The folder `rules/` is missing, or there is no plan in it."),
    Code("FO307", "error", "missing template", "`template: NAME` is the file rules/templates/NAME.yaml."),
    Code(
        "FO308", "error", "variants and content differ", "Each variant of the experiment needs a content, and no other."
    ),
    Code("FO309", "error", "one name twice", "Two goals of a plan, or two channels' files, bear the same name."),
    Code("FO310", "error", "attribute of the wrong type", "An address is a string, a consent a boolean."),
    Code("FO311", "error", "one property, two types", "One source cannot read one column with two types."),
    Code("FO312", "error", "segment that no source gives", "Small files are looked into; none has this segment."),
    Code("FO313", "error", "goal by a receipt that never comes", "The channel has no receipts, so nobody attains it."),
    Code("FO314", "error", "change that no record tells", "Which layer a user is in changes as time passes."),
    Code("FO315", "error", "missing policy", "`policy: NAME` is the file rules/policies/NAME.yaml."),
    Code("FO316", "error", "channels and content differ", "Each channel of a step needs its own content, no other."),
    Code(
        "FO317",
        "error",
        "condition that nothing can tell",
        "No step, wait, goal or receipt comes before of which it could be known.",
    ),
    # Filters and content
    Code("FO401", "error", "filter that cannot be read", "The filter is not an expression of SQL as flowops knows it."),
    Code("FO402", "error", "unknown name in a filter", "Bare names are properties of the event at hand."),
    Code(
        "FO403", "error", "wrong type in a filter", "The two sides do not compare, or the function wants another type."
    ),
    Code("FO404", "error", "unknown function in a filter", "Only the functions of the language are there."),
    Code(
        "FO405", "error", "filter that is not a condition", "A filter must be true or false; a value must be a number."
    ),
    Code("FO406", "error", "filter that is never true", "Its conditions exclude each other, so nothing passes."),
    Code(
        "FO407",
        "warning",
        "branch that nothing takes",
        "One side of an `or`, or one block of an audience, is never true beside what must hold with it.",
    ),
    Code("FO408", "error", "unknown layer", "A layering is compared with what is none of its layers."),
    Code("FO409", "error", "layer of nobody", "Those before it take everyone whom it asks for."),
    Code("FO411", "error", "content that cannot be rendered", "The text is not Liquid, or names what nothing defines."),
    Code(
        "FO412",
        "error",
        "too long for an SMS",
        "On a channel with `limit: sms`: 160 units of GSM-7, or 70 of UCS-2 where a character needs it. What every"
        " message has, values left out, is longer.",
    ),
    Code("FO413", "error", "banned word", "The project's `banned_words` are in no message."),
    Code("FO414", "error", "message without a text", "Every field of the content is empty."),
    # Inputs
    Code("FO501", "error", "missing source file", "No file fits what the source names."),
    Code("FO502", "error", "source file that cannot be read", "A CSV without a header, a damaged or empty file."),
    Code("FO503", "error", "missing column", "The mapping names a column that the file's header lacks."),
    Code("FO504", "error", "unknown format", "Files are `.csv`, `.jsonl` or `.parquet`; the first two also .gz, .zst."),
    Code(
        "FO505", "error", "event that no source produces", "Every source has a constant event, and it is not this one."
    ),
    Code(
        "FO506",
        "warning",
        "profiles that no source gives",
        "Plans use the profile, but no source has these attributes.",
    ),
    Code("FO507", "error", "property that no source gives", "No file that can hold the event has such a column."),
    Code(
        "FO508",
        "warning",
        "time of a profile not mapped",
        "Without `ts` under `fields` the updates hold from the start.",
    ),
    Code("FO509", "warning", "receipts that no source gives", "A channel waits for receipts, and no source has any."),
    Code(
        "FO510",
        "warning",
        "schedule for nobody",
        "It is for all with a profile or a segment, and no source gives any.",
    ),
    # Doubts
    Code(
        "FO601",
        "warning",
        "correlated filter without `key`",
        "While one is under way further first events are ignored, so the filter compares with the first one only.",
    ),
    Code(
        "FO602",
        "warning",
        "may be too long for an SMS",
        "With a default, or a value that is not of GSM-7, the message does not fit, and is not sent.",
    ),
    Code(
        "FO603",
        "warning",
        "sensitive attribute in a text",
        "What a message says is kept in the outcomes, where every analyst reads it.",
    ),
    Code("FO604", "warning", "step or time that changes nothing", "The sequence does the same without it."),
    Code(
        "FO605",
        "warning",
        "value as another tool writes it",
        "It stands in the message as it is written. Here a value is `{{ user.first_name }}`.",
    ),
    Code(
        "FO606",
        "warning",
        "label that tells what is sensitive",
        "Who is in its segment passed a filter on a sensitive attribute, and segments are seen by all.",
    ),
    Code(
        "FO607",
        "warning",
        "fallback that never comes",
        "There is no other channel, none of whose receipts is waited for, or the step has expired by then.",
    ),
    Code(
        "FO608",
        "warning",
        "attribute that may be unknown in a text",
        "It has no default, and no condition asks for it: who lacks it gets no message (`content_invalid`).",
    ),
    Code(
        "FO609",
        "warning",
        "text that ends at a `#`",
        "What follows ` #` in an unquoted text is a comment, and not in the message.",
    ),
    # Tests of plans
    Code("FO701", "error", "test of a plan that is not there", "`test:` names plans by their ids."),
    Code("FO702", "error", "arm left to a draw", "Of an experiment, a test says who gets what: `arms: {u1: long}`."),
    Code(
        "FO703", "error", "value of another type", "It is not what flowops.yaml declares of the property or attribute."
    ),
    Code("FO704", "error", "nothing of the plan", "The plan has no such goal, step, channel, variant or text."),
)

CODES = {code.code: code for code in _REGISTER}


@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint. `path` is relative to the project; `line` and `column` count from 1, 0 where there is no place."""

    code: str
    severity: Severity
    path: str
    line: int
    column: int
    what: str
    got: str | None = None
    hint: str | None = None

    @property
    def place(self) -> str:
        """`path:line:column`, as editors and terminals make a link of it."""
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path


def finding(
    code: str, path: str, line: int, column: int, what: str, *, got: str | None = None, hint: str | None = None
) -> Finding:
    """A finding with the severity that the register gives its code."""
    return Finding(code, CODES[code].severity, path, line, column, what, got, hint)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """By place, each once."""
    return sorted(set(findings), key=lambda f: (f.path, f.line, f.column, f.code, f.what))


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether anything keeps the project from running."""
    return any(f.severity == "error" for f in findings)


def render(findings: Sequence[Finding]) -> str:
    """For people: a paragraph each, what was got and what to try below."""
    lines: list[str] = []
    for each in findings:
        lines.append(f"{each.place}: {each.severity} {each.code}: {each.what}")
        if each.got and f"`{each.got}`" not in each.what:
            lines.append(f"    got: {each.got}")
        if each.hint is not None:
            lines.append(f"    try: {each.hint}")
    return "\n".join(lines)


def render_json(findings: Sequence[Finding]) -> str:
    """For programs: `{"findings": [...], "errors": n, "warnings": n}`."""
    errors = sum(f.severity == "error" for f in findings)
    document = {"findings": [asdict(f) for f in findings], "errors": errors, "warnings": len(findings) - errors}
    return json.dumps(document, ensure_ascii=False, indent=2)


def document_codes() -> str:
    """`docs/lint.md`: the register as a page."""
    rows = "\n".join(f"| {c.code} | {c.severity} | {c.title} | {c.explanation} |" for c in _REGISTER)
    return (
        "# What lint finds\n\n"
        "Made from the register in `flowops.rules.findings`: `python -m flowops.rules.findings > docs/lint.md`.\n"
        "Errors keep a project from running; warnings do not. Each finding is printed with its file, line and column,\n"
        "what was got and what to try; `flowops lint --json` prints the same for programs, `--format github` as\n"
        "annotations, `--format sarif` for code scanning (paths start where the command runs).\n\n"
        "| code | severity | finding | meaning |\n|---|---|---|---|\n" + rows + "\n"
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(document_codes())
