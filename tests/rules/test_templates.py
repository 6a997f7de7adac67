"""Content: what is compiled renders as the Liquid library does; the rest is found early or is a ContentError."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowops.core.time import Zone
from flowops.errors import ContentError
from flowops.rules import library, shown
from flowops.rules.expressions import Scope
from flowops.rules.shown import TemplateProblem
from flowops.rules.templates import CheckedTemplate, check_template, renderer

SCOPE = Scope(
    names={},
    steps={
        "view": {"sku": "string", "price": "money", "tags": "list", "item": "object", "at": "time"},
        "add-on": {"sku": "string"},
    },
    user={"first_name": "string", "birthday": "date", "vip": "boolean", "points": "number"},
    variant=True,
)
LAYOUT: dict[str, Any] = {"steps": {name: list(of) for name, of in SCOPE.steps.items()}, "user": list(SCOPE.user)}
NOW = 1_650_000_000_000_000  # 2022-04-15 05:20 UTC
STEPS = (("A1", 60.0, ["a", 2.0], {"size": {"eu": 42.5}, "none": None}, NOW), ("B2",))
USER = (None, 10_957, True, 12.5)


def render(text: str, *, user: tuple[Any, ...] = USER, steps: tuple[Any, ...] = STEPS, zone: Zone | None = None) -> str:
    made = renderer({"body": check_template(text, SCOPE)}, **LAYOUT, **({"zone": zone} if zone else {}))
    return made(steps, user, NOW, "long")["body"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Still thinking?", "Still thinking?"),
        ("", ""),
        ("{{ view.sku }} is waiting.", "A1 is waiting."),
        ("Hi {{ user.first_name | default: 'there' }}, {{ view.price }} CNY", "Hi there, 60 CNY"),
        ("{{ add-on.sku }}{{ view['sku'] }}", "B2A1"),
        ("{{ user.points }} {{ view.price | times: 1.5 }} {{ view.price | divided_by: 7.5 }}", "12.5 90 8"),
        ("{{ view.price | divided_by: 1000000 }}", "0.00006"),
        ("{{ view.price | append: ' CNY' }}", "60 CNY"),
        ("{{ view.tags | join: ', ' }} {{ view.item.size.eu }} {{ view.sku.size }}", "a, 2 42.5 2"),
        ("{% if user.first_name %}yes{% else %}no{% endif %}", "no"),
        ("{% for tag in view.tags %}{{ forloop.index }}{{ tag }} {% endfor %}", "1a 22 "),
        ("{{ user.vip }} {{ variant }}", "true long"),
        ("{{ user.birthday }} {{ user.birthday | date: '%d.%m.' }}", "2000-01-01 01.01."),
        ("{{ now | date: '%H:%M' }} {{ view.at }}", "05:20 2022-04-15 05:20:00+00:00"),
        ("{%- assign name = view.sku | downcase -%} {{ name }}", "a1"),
        ("{% raw %}{{ sku }}{% endraw %}", "{{ sku }}"),
        ("a\r\nb{% if true %}\rc{% capture x %}d\r\n{% endcapture %}{{ x }}{% endif %}", "a\r\nb\rcd\r\n"),
    ],
)
def test_content_reads_as_people_expect(text: str, expected: str) -> None:
    """S33: Liquid, with numbers as people write them."""
    assert render(text) == expected


def test_times_are_local() -> None:
    """S10: in the zone that the compiler names."""
    assert render("{{ now | date: '%H:%M' }}", zone=Zone("Asia/Shanghai")) == "13:20"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Hi {{ user.first_name }}", "`user.first_name` has no value and no default"),
        ("Hi {{ user.first_name | upcase }}", "`user.first_name` has no value"),
        ("{{ user.first_name | plus: 1 }}", "`user.first_name` has no value"),
        ("{{ 'Hi ' | append: user.first_name }}", "`user.first_name` has no value"),
        ("{% for tag in user.first_name %}{% endfor %}", "`user.first_name` has no value"),
        ("{{ view.item.none }}", "`view.item.none` has no value"),
        ("{{ view.price | divided_by: 0 }}", "can't divide by 0"),
        ("{{ 'now' | date: '%Y' }}", "`date` wants a time or a date, not 'now'"),
        ("{{ 'today' | date: '%Y' }}", "`date` wants a time or a date"),
        ("{{ 0 | date: '%Y' }}", "`date` wants a time or a date"),
        ("{% for i in (1..100000) %}x{% endfor %}", "loop iteration limit"),
        ("{% for i in (1..9999) %}{{ view.sku }}{% endfor %}" * 60, "output stream limit"),
        ("{% if view.price > 'x' %}{% endif %}", "not supported"),
    ],
)
def test_what_cannot_be_rendered_is_a_content_error(text: str, message: str) -> None:
    """S33: named, so that the loss `content_invalid` says which variable; and no template reads a clock."""
    with pytest.raises(ContentError) as caught:
        render(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_time_out_of_range_is_a_content_error() -> None:
    """A wrong unit in the data costs one message, not the run."""
    with pytest.raises(ContentError, match="out of range"):
        render("{{ view.at }}", steps=(("A1", 1.0, None, None, 1 << 62), ("B2",)))


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("Hi {{ sku }}", 1, 7, "nothing defines `sku`", "did you mean `view.sku`?"),
        ("Hi\n  {{ usr.vip }}", 2, 6, "nothing defines `usr`", "did you mean `user`?"),
        ("a\r\n{{ view.skuu }}", 2, 4, "`view` has no `skuu`", "did you mean `sku`?"),
        ("{{ view }}", 1, 4, "`view` is not a value", "`view.NAME`"),
        ("{{ view[variant] }}", 1, 4, "`view` is not a value", "`view.NAME`"),
        ("{{ view.sku.x }}", 1, 4, "`view.sku` is a string and has no parts", None),
        ("{{ view.sku | uppcase }}", 1, 15, "unknown filter `uppcase`", "did you mean `upcase`?"),
        ("{% if view.sku %}\nx", 2, 2, "expected tag endif", None),
        ("a\n {{ view.sku", 2, 2, "expected '}}'", None),
        ("a {{ }}", 1, 3, "expected a primitive expression", None),
        ("{% include 'other' %}", 1, 4, "unexpected tag 'include'", None),
        ("{{ view sku }}", 1, 9, "expected end of expression", None),
    ],
)
def test_a_wrong_template_is_found_when_it_is_read(
    text: str, line: int, column: int, message: str, hint: str | None
) -> None:
    """S33: with line and column within the text, also of one of many lines."""
    with pytest.raises(TemplateProblem) as caught:
        check_template(text, SCOPE)
    problem = caught.value
    assert message in problem.message
    assert (problem.line, problem.column) == (line, column)
    assert hint is None or hint in (problem.hint or "")


def test_references_say_what_must_be_captured() -> None:
    """The compiler captures only what content and filters name."""
    text = "{{ view.sku }} {{ user.first_name | default: user.points }} {% if variant == 'a' %}{{ now }}{% endif %}"
    assert check_template(text, SCOPE).references == {
        ("step", "view", "sku"),
        ("user", "first_name"),
        ("user", "points"),
        ("variant",),
        ("now",),
    }


words = st.one_of(
    st.text(alphabet=st.characters(exclude_characters="{}%", exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["}", "}}", "%}", " { ", "%"]),
)
variables = st.sampled_from(
    ["view.sku", "view.price", "user.first_name", "user.vip", "user.points", "user.birthday", "now"]
)
outputs = st.builds(
    lambda name, default, left, right: f"{{{{{left} {name}{default} {right}}}}}",
    variables,
    st.sampled_from(["", " | default: 'x'", " | default: 0", " | default: ''", '|default:"{"', "| default: 007"]),
    st.sampled_from(["", "-"]),
    st.sampled_from(["", "-"]),
)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.lists(words | outputs, max_size=6).map("".join),
    st.tuples(st.none() | st.text(max_size=5), numbers),
    st.tuples(
        st.none() | st.text(max_size=5), st.none() | st.integers(-9_000, 40_000), st.none() | st.booleans(), numbers
    ),
    st.integers(0, 4 * 10**15),
)
def test_compiled_content_is_what_the_library_renders(
    text: str, step: tuple[Any, ...], user: tuple[Any, ...], now: int
) -> None:
    """Constants and plain variables do not go through the library, and no reader can tell."""
    layout: dict[str, Any] = {"steps": {"view": ["sku", "price"]}, "user": list(SCOPE.user)}
    checked = check_template(text, SCOPE)

    def outcome(template: CheckedTemplate) -> object:
        try:
            return renderer({"body": template}, **layout)((step,), user, now, None)
        except ContentError as error:
            return str(error)

    through = check_template("{% if true %}{% endif %}" + text, SCOPE)  # a tag: not compiled
    assert outcome(checked) == outcome(through)


def test_plain_content_does_not_call_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of a dense run's events ends in a rendered message."""

    def forbidden(*_args: object) -> str:
        raise AssertionError("went through the library")

    monkeypatch.setattr(library, "render", forbidden)
    assert (
        render("Hi {{ user.first_name | default: 'there' }}, {{ view.sku }} for {{ view.price }}")
        == "Hi there, A1 for 60"
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_number_keeps_its_value(number: float) -> None:
    """However it is written, it reads back as the same number, and has no exponent."""
    text = shown.number_text(number)
    assert "e" not in text
    assert math.isclose(float(text), number, rel_tol=0, abs_tol=0)
