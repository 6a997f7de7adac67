"""Filters: what cannot be right is refused where it stands; what is right is compiled to what a person would write."""

from __future__ import annotations

import datetime as dt

import pytest

from flowops.core.time import Zone, to_micros
from flowops.rules.expressions import ExpressionError, Scope, check, check_condition, predicate

BASE = Scope(
    names={
        "price": "money",
        "sku": "string",
        "ok": "boolean",
        "at": "time",
        "d": "date",
        "tags": "list",
        "add-on": "string",
    },
    steps={"product_view": {"sku": "string", "price": "money"}},
    user={"tier": "string", "age": "number"},
    bare="order",
)


@pytest.mark.parametrize(
    ("text", "code", "offset", "message", "hint"),
    [
        ("prise > 3", "filter-name", 0, "unknown name `prise`", "did you mean `price`?"),
        ("price > 3 and user.teir = 'x'", "filter-name", 14, "unknown attribute `user.teir`", "did you mean `tier`?"),
        ("view.sku = 'a'", "filter-name", 0, "unknown step `view`", "one of `product_view`, `user`"),
        ("product_view.skuu = 'a'", "filter-name", 0, "`product_view` has no property `skuu`", "did you mean `sku`?"),
        ("variant = 'long'", "filter-name", 0, "unknown name `variant`", "one of"),
        ('sku = "a"', "filter-name", 6, "unknown name `a`", "a text stands in single quotes: `'a'`"),
        ("add-on = 'x'", "filter-syntax", 4, "something is missing", 'write `"add-on"` in double quotes'),
        ("lowr(sku) = 'a'", "filter-function", 0, "unknown function `lowr`", "did you mean `lower`?"),
        ("round(price, 1, 2) > 3", "filter-function", 0, "`round` takes 1 to 2 arguments, not 3", None),
        ("ok and price = 'x'", "filter-type", 7, "money and string do not go together", None),
        ("price = '5'", "filter-type", 0, "money and string do not go together", "write 5 without quotes"),
        ("sku = 5", "filter-type", 0, "string and number do not go together", "write `'5'` in quotes"),
        ("ok and price", "filter-type", 7, "`and` wants conditions, but this is a money", "compare it"),
        ("price + sku > 3", "filter-type", 8, "`+` wants numbers, but `sku` is a string", "use `||` to join texts"),
        ("price = null", "filter-type", 0, "`=` with NULL is never true", "write `is null` or `is not null`"),
        ("price in (1, 'x')", "filter-type", 0, "money and string do not go together", None),
        ("tags = 'x'", "filter-type", 0, "`tags` is a list", None),
        ("d > at", "filter-type", 0, "date and time do not go together", "`cast(... as date)`"),
        ("at > 'tomorrow'", "filter-type", 5, "'tomorrow' is no time", "write `'2022-04-20 10:00'`"),
        ("now - at > 3", "filter-type", 0, "`-` wants numbers, but `now` is a time", "use `date_diff"),
        ("regexp_matches(sku, '[')", "filter-type", 20, "no regular expression", None),
        ("sku like sku", "filter-type", 9, "the pattern of `like` is a literal", "use `starts_with`"),
        ("sku like 'a!' escape '!'", "filter-type", 9, "the pattern ends with its escape character", None),
        ("price > 1e999", "filter-type", 8, "the number 1e999 is out of range", None),
        ("sku", "filter-type", 0, "a condition is wanted, but this is a string", "compare it with something"),
        ("price >", "filter-syntax", 6, "something is missing beside `>`", None),
        ("(price > 3", "filter-syntax", 9, "expecting )", None),
        ("price 3", "filter-syntax", 6, "`3` is not expected here", "is an operator or a quote missing?"),
        ("ok sku", "filter-syntax", 3, "`sku` is not expected here", "is an operator missing?"),
        ("sku = 'a", "filter-syntax", 6, "a quote is not closed", None),
        ("price \uff1e 5", "filter-syntax", 6, "full-width `\uff1e`", "write `>`"),
        ("sku = “a”", "filter-syntax", 6, "full-width `“`", "write `'`"),
        ("  ", "filter-syntax", 0, "there is no expression", "leave the key out"),
        ("ok; ok", "filter-syntax", 2, "`;` has no place in a filter", None),
        ("ok -- yes", "filter-syntax", 3, "a comment has no place in a filter", "use YAML's `#`"),
        ("(" * 500 + "ok" + ")" * 500, "filter-syntax", 0, "too deeply nested", "split it"),
        ("lower(" * 60 + "sku" + ")" * 60 + " = 'a'", "filter-syntax", None, "too deeply nested", "split it"),
        ("price::int > 3", "filter-unsupported", 0, "a cast is not supported", "types come from the declarations"),
        ("product_view[1].sku = 'a'", "filter-name", 0, "`product_view` is taken once", "write `product_view.sku`"),
        ("product_view[1] = 'a'", "filter-unsupported", 0, "is not supported", None),
        ("product_view.sku[1] = 'a'", "filter-unsupported", 0, "is not supported", None),
        ("product_view[1:2].sku = 'a'", "filter-type", 0, "takings are counted from 1", "`product_view[1].sku` is of"),
        ("exists (select 1)", "filter-unsupported", None, "a query is not supported", None),
        ("price // 2 > 3", "filter-unsupported", 0, "`//` is not supported", "use `/`"),
        ("sku ~ 'a'", "filter-unsupported", 0, "`~` is not supported", "use `regexp_matches"),
        ("lower(distinct sku) = 'a'", "filter-unsupported", None, "is not supported", None),
        ("price between symmetric 3 and 1", "filter-unsupported", 0, "is not supported", None),
        (
            "date_diff('week', d, d) > 1",
            "filter-function",
            10,
            "`date_diff` does not count `week`",
            "units: day, month, year",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_where_it_stands(
    text: str, code: str, offset: int | None, message: str, hint: str | None
) -> None:
    """S11: names, types, syntax and what the language leaves out: refused with place, reason and what to try."""
    with pytest.raises(ExpressionError) as caught:
        check_condition(text, BASE)
    error = caught.value
    assert error.code == code
    assert message in error.message
    assert offset is None or error.offset == offset
    assert hint is None or hint in (error.hint or "")
    assert 0 <= error.offset <= len(text)


def test_what_it_reads_is_known() -> None:
    """The compiler places values by these sets, and only what is its own is decided before routing."""
    checked = check_condition("price >= 50 and sku = product_view.sku and (user.tier = 'gold' or at > now)", BASE)
    assert checked.properties == {"price", "sku", "at"}
    assert checked.step_properties == {("product_view", "sku")}
    assert checked.attributes == {"tier"}
    assert checked.uses_now
    assert not checked.uses_variant
    assert [part.own for part in checked.conjuncts()] == [True, False, False]


def test_a_comparison_is_written_as_a_person_would() -> None:
    """No helper is called for what most filters say: this runs for every event."""
    holds = predicate([check("price >= 50 and sku = 'a'", BASE)], event=["price", "sku"], steps={}, user=[])
    assert holds.__code__.co_names == ("c11",)  # type: ignore[attr-defined]


def test_users_text_never_becomes_source() -> None:
    """Quotes, braces and newlines in a literal are data."""
    nasty = "'] or __import__('os') #{0}\n\"\\"
    text = f"sku = '{nasty.replace(chr(39), chr(39) * 2)}'"
    holds = predicate([check(text, BASE)], event=["sku"], steps={}, user=[])
    assert holds((nasty,), (), (), 0, None) is True
    assert holds(("x",), (), (), 0, None) is False


def test_a_text_that_is_no_unicode_does_not_raise() -> None:
    """A predicate never raises, whatever a source lets through."""
    text = "regexp_matches(sku, 'a$') or lower(sku) = 'x' or sku ilike '_b%'"
    assert predicate([check(text, BASE)], event=["sku"], steps={}, user=[])(("\ud800a",), (), (), 0, None) is True


def test_like_takes_time_proportional_to_its_text() -> None:
    """A pattern with many `%` on a long text without a match does not run away: it ends within the test."""
    holds = predicate([check("sku like '%a%a%a%a%a%a%a%a%b_'", BASE)], event=["sku"], steps={}, user=[])
    assert holds(("a" * 20_000,), (), (), 0, None) is False


def test_times_are_read_in_the_plans_zone() -> None:
    """S10: a literal without an offset, and the parts of a time, are local."""
    local = Scope({"at": "time"}, zone=Zone("Asia/Shanghai"))
    moment = to_micros(dt.datetime(2022, 4, 20, 2, 0, tzinfo=dt.UTC))
    for text in (
        "at = '2022-04-20 10:00'",
        "at = '2022-04-20T02:00:00Z'",
        "hour(at) = 10",
        "cast(at as date) = '2022-04-20'",
    ):
        assert predicate([check(text, local)], event=["at"], steps={}, user=[])((moment,), (), (), 0, None), text


def test_a_layout_that_lacks_a_name_is_refused() -> None:
    """A mistake of the compiler shows when it compiles, not at an event."""
    with pytest.raises(ValueError, match="the layout has no"):
        predicate([check("price > 3", BASE)], event=["sku"], steps={}, user=[])
