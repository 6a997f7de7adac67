"""Links (S2a): from its place in the order on an id is a user's, and two users become one."""

from __future__ import annotations

import driver
import pytest
from driver import agreed
from shop import (
    AT_ONCE,
    CITY,
    HOOK,
    ONCE,
    PUSH,
    USER,
    Aim,
    Daily,
    Did,
    Draft,
    InSegment,
    On,
    Stop,
    absence,
    at,
    back,
    cap,
    changes,
    crm,
    date_of,
    distinct,
    event,
    ids,
    inactive,
    link,
    log,
    member,
    members,
    profile,
    project,
    quiet,
    receipt,
    scheduled,
    span,
    times,
    total,
)
from stages import BERLIN

from flowops.core.plan import AllTrigger, EventTrigger, Experiment, SequenceStep, SequenceTrigger

ANON = "anon"
REMIND = Draft("remind", trigger=absence(span("1h")), without=(On("order"),))
HELLO = Draft("hello")


def by(user, ts, name="view", **more):
    return event(f"2022-04-21 {ts}", name, user=user, **more)


def linked(ts="10:20", identity=ANON, user=USER):
    return link(None if ts is None else f"2022-04-21 {ts}", identity, user)


def said(drafts, events, links, told=(), until="2022-04-21 18:00", first_links=False, **more):
    """The outcome; events are read before links of one instant, unless these come first."""
    shop = project(*drafts, linked=True, **more)
    parts = [log(shop, *events), ids(shop, *links)]
    return agreed(shop, *(parts[::-1] if first_links else parts), crm(shop, *told), until=at(until))


def sent(outcome):
    return [(one.user_id, one.evidence, one.stage) for one in outcome.decisions]


def test_an_order_of_the_user_ends_what_was_begun_under_another_id() -> None:
    """S13."""
    assert sent(said([REMIND], [by(ANON, "10:00"), by(USER, "10:30", "order")], [linked()])) == []


def test_an_order_of_the_other_id_ends_what_the_user_began() -> None:
    assert sent(said([REMIND], [by(USER, "10:00"), by(ANON, "10:30", "order")], [linked()])) == []


def test_what_came_before_the_link_is_not_judged_anew() -> None:
    """An order that was another's when it came ends nothing."""
    outcome = said([REMIND], [by(ANON, "10:00", id="v"), by(USER, "10:10", "order")], [linked()])
    assert sent(outcome) == [(USER, ("v",), "delivered")]


def test_a_wait_goes_on_under_the_new_id() -> None:
    outcome = said([REMIND], [by(ANON, "10:00", id="v")], [linked()])
    assert [(one.user_id, one.triggered_at) for one in outcome.decisions] == [(USER, at("2022-04-21 11:00"))]


def test_a_message_that_was_begun_under_an_id_keeps_its_own_id() -> None:
    """S32: a trigger's id is that of the user with whom it began, whoever that turns out to be."""
    alone = said([REMIND], [by(ANON, "10:00")], [linked("12:00")])
    joined = said([REMIND], [by(ANON, "10:00")], [linked()])
    assert alone.decisions[0].trigger_id == joined.decisions[0].trigger_id
    assert (alone.decisions[0].user_id, joined.decisions[0].user_id) == (ANON, USER)


@pytest.mark.parametrize(("first_links", "user"), [(True, USER), (False, ANON)])
def test_at_one_instant_the_order_of_sources_decides(first_links, user) -> None:
    """S7."""
    outcome = said([HELLO], [by(ANON, "10:20")], [linked()], first_links=first_links)
    assert [one.user_id for one in outcome.decisions] == [user]


def test_a_link_may_come_before_anything_is_known() -> None:
    outcome = said([HELLO], [by(ANON, "10:00")], [linked(None)])
    assert [one.user_id for one in outcome.decisions] == [USER]
    assert [tuple(one) for one in outcome.links] == [(ANON, USER, None)]


def test_links_form_chains() -> None:
    rows = [linked("10:01", "phone", ANON), linked("10:02", ANON, USER)]
    outcome = said([HELLO], [by("phone", "10:00"), by("phone", "10:01"), by("phone", "10:03")], rows)
    assert [one.user_id for one in outcome.decisions] == ["phone", "phone", USER]


def test_a_user_who_leads_on_is_followed_later() -> None:
    """a is b's, then b is c's: what a began is c's by then."""
    rows = [linked("10:10", "a", "b"), linked("10:20", "b", "c")]
    assert sent(said([REMIND], [by("a", "10:00"), by("c", "10:30", "order")], rows)) == []


def test_the_same_link_again_changes_nothing() -> None:
    rows = [linked("10:20"), linked("10:25"), linked("10:20")]
    outcome = said([REMIND], [by(ANON, "10:00"), by(USER, "10:30", "order")], rows)
    assert sent(outcome) == []
    assert len(outcome.links) == 1


def test_a_later_link_leads_elsewhere_and_what_was_before_stays() -> None:
    """A shared device: what it did while the first was logged in is the first one's."""
    rows = [linked("10:10", ANON, "u1"), linked("10:40", ANON, "u2")]
    events = [by(ANON, "10:00", id="a"), by(ANON, "10:20", id="b"), by(ANON, "10:50", id="c")]
    outcome = said([Draft("later", trigger=EventTrigger(span("2h")))], events, rows)
    assert sent(outcome) == [("u1", ("a",), "delivered"), ("u1", ("b",), "delivered"), ("u2", ("c",), "delivered")]


def test_a_late_link_counts_from_its_place_on_unless_a_newer_one_is_known() -> None:
    """S9."""
    rows = [linked("10:10", ANON, "u1"), linked("11:00", "x", "y"), linked("10:05", ANON, "u2")]
    outcome = said([HELLO], [by(ANON, "11:30")], rows)
    assert [one.user_id for one in outcome.decisions] == ["u1"]
    rows = [linked("11:00", "x", "y"), linked("10:05", ANON, "u2")]
    outcome = said([HELLO], [by(ANON, "10:30"), by(ANON, "11:30")], rows)
    assert [one.user_id for one in outcome.decisions] == [ANON, "u2"]
    assert [one.event for one in outcome.late] == [ANON]


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        ([linked("10:00", USER, USER)], "`u36` would lead to itself"),
        ([linked("10:00", "a", "b"), linked("10:01", "b", "a")], "`b` would lead to itself, by way of `a`"),
        (
            [linked("10:00", "a", "b"), linked("10:01", "b", "c"), linked("10:02", "c", "a")],
            "`c` would lead to itself, by way of `a`",
        ),
    ],
)
def test_a_circle_is_refused(rows, refused) -> None:
    shop = project(HELLO, linked=True)
    engine = driver.Run(shop, [ids(shop, *rows)]).to_the_end()
    (letter,) = engine.dead
    assert (letter.source, letter.partition, letter.position) == ("ids", "0", len(rows) - 1)
    assert (letter.reason, letter.detail) == ("circle", refused)


def test_of_two_waits_the_one_that_began_first_stays() -> None:
    events = [by(ANON, "10:00", id="a"), by(USER, "10:10", id="b")]
    assert sent(said([REMIND], events, [linked()])) == [(USER, ("a",), "delivered")]


@pytest.mark.parametrize(("repeat", "evidence"), [("restart", [("b",)]), ("parallel", [("b",), ("a",)])])
def test_of_two_waits_those_stay_that_one_user_would_have(repeat, evidence) -> None:
    draft = Draft("remind", trigger=absence(span("1h"), repeat), without=(On("order"),))
    events = [by(USER, "10:00", id="b"), by(ANON, "10:10", id="a")]
    if repeat == "restart":
        events = [by(ANON, "10:00", id="a"), by(USER, "10:10", id="b")]
    assert [one.evidence for one in said([draft], events, [linked()]).decisions] == evidence


def test_waits_of_other_keys_stay_side_by_side() -> None:
    """S17a."""
    draft = Draft("remind", trigger=absence(span("1h")), without=(On("order"),), key=(0,))
    events = [by(ANON, "10:00", sku="A", id="a"), by(USER, "10:10", sku="B", id="b")]
    assert [one.key for one in said([draft], events, [linked()]).decisions] == ["A", "B"]


def test_the_user_was_last_seen_when_either_was() -> None:
    """S17."""
    draft = Draft("idle", trigger=inactive(span("1h")))
    events = [by(USER, "10:00", id="u"), by(ANON, "10:15", id="a")]
    assert sent(said([draft], events, [linked()])) == [(USER, ("a",), "delivered")]


def test_a_sequence_goes_on_under_the_new_id() -> None:
    """S14."""
    steps = (SequenceStep("any", (0,)), SequenceStep("any", (1,)))
    trigger = SequenceTrigger(steps, span("2h"), "ignore", strict=False, unfinished=False, delay=0)
    draft = Draft("both", trigger=trigger, members=(On("view"), On("order")))
    events = [by(ANON, "10:00", id="a"), by(USER, "10:30", "order", id="b")]
    assert sent(said([draft], events, [linked()])) == [(USER, ("a", "b"), "delivered")]


def test_what_is_gathered_is_joined_and_the_next_event_finds_it_complete() -> None:
    """S15: a join is no event, so it fires nothing."""
    draft = Draft("all", trigger=AllTrigger(2, span("2h"), 0), members=(On("view"), On("order")))
    events = [by(ANON, "10:00", id="a"), by(USER, "10:10", "order", id="b"), by(USER, "10:30", id="c")]
    assert sent(said([draft], events, [linked()])) == [(USER, ("a", "b"), "delivered")]


@pytest.mark.parametrize(
    ("counter", "fires"),
    [(times(3, span("1d")), "c"), (distinct(3, span("1d")), "c"), (total("3", span("1d")), "c")],
)
def test_counts_are_joined(counter, fires) -> None:
    """S16: as though all had been counted of one user."""
    draft = Draft("third", trigger=AT_ONCE, counter=counter)
    events = [
        by(ANON, "10:00", sku="A", id="a"),
        by(USER, "10:10", sku="B", id="b"),
        by(USER, "10:30", sku="C", id="c"),
    ]
    outcome = said([draft], events, [linked()])
    assert [one.evidence for one in outcome.decisions] == [("a", "b", fires)]


def test_a_count_that_the_join_reaches_fires_at_the_next_event() -> None:
    draft = Draft("third", trigger=AT_ONCE, counter=times(2, None))
    events = [
        by(ANON, "10:00", id="a"),
        by(USER, "10:10", id="b"),
        by(USER, "10:30", id="c"),
        by(USER, "10:40", id="d"),
    ]
    assert [one.evidence for one in said([draft], events, [linked()]).decisions] == [("b", "c")]


def test_a_count_that_either_has_fired_is_not_reached_again() -> None:
    draft = Draft("second", trigger=AT_ONCE, counter=times(2, None))
    events = [by(ANON, "10:00"), by(ANON, "10:01"), by(USER, "10:10"), by(USER, "10:30")]
    assert [one.user_id for one in said([draft], events, [linked()]).decisions] == [ANON]


def test_what_audiences_ask_of_the_past_is_asked_of_both() -> None:
    """S12a."""
    draft = Draft("again", on=On("view"), did=((On("order"), times(1, None), 1, None),), audience=Did((True,)))
    events = [by(ANON, "10:00", "order"), by(USER, "10:10"), by(USER, "10:30")]
    assert len(said([draft], events, [linked()]).decisions) == 1


def test_caps_count_what_was_sent_to_either() -> None:
    """S24."""
    draft = Draft("hello", caps=(cap(2, rolling=span("1d")),))
    events = [by(ANON, "10:00"), by(USER, "10:10"), by(USER, "10:30")]
    assert [stage for *_, stage in sent(said([draft], events, [linked()]))] == [
        "delivered",
        "delivered",
        "frequency_cap",
    ]


def test_an_entry_of_either_is_one() -> None:
    """S21."""
    draft = Draft("hello", reentry=ONCE)
    assert [s for *_, s in sent(said([draft], [by(ANON, "10:00"), by(USER, "10:30")], [linked()]))] == [
        "delivered",
        "reentry",
    ]


def test_a_goal_of_what_was_sent_to_the_other_id_is_attained() -> None:
    """S41."""
    draft = Draft("hello", aims=(Aim(On("order"), span("1h")),))
    outcome = said([draft], [by(ANON, "10:00"), by(USER, "10:30", "order")], [linked()])
    assert [(one.user_id, one.trigger_id) for one in outcome.goals] == [(USER, outcome.decisions[0].trigger_id)]


def test_a_receipt_finds_its_message_across_the_link() -> None:
    """S27, S40: a click counts, and who unsubscribes by the old id does so for the user."""
    draft = Draft("hello", channel=HOOK, aims=(Aim(On("order"), span("1h"), receipt="clicked"),))
    shop = project(draft, linked=True)
    events = log(shop, by(ANON, "10:00"), by(USER, "11:00", id="last"))
    parts = [events, ids(shop, linked()), crm(shop, *(profile(None, user=user, ok=True) for user in (ANON, USER)))]
    (first, _) = agreed(shop, *parts).decisions
    message = f"{first.trigger_id}-send-hook"
    told = back(
        shop,
        receipt("2022-04-21 10:30", "clicked", message),
        receipt("2022-04-21 10:40", "unsubscribed", message, user=ANON),
    )
    outcome = agreed(shop, *parts, told)
    assert [(one.user_id, one.trigger_id) for one in outcome.goals] == [(USER, first.trigger_id)]
    assert sent(outcome)[-1] == (USER, ("last",), "no_consent")
    assert [one.user_id for one in outcome.receipts] == [None, ANON]


def test_what_is_held_is_decided_again_as_the_same_attempt() -> None:
    """S22, S26."""
    draft = Draft("hello", quiet=quiet("10:00", "11:00"))
    first, second = said([draft], [by(ANON, "10:00")], [linked()]).decisions
    assert first.trigger_id == second.trigger_id
    assert [(first.user_id, first.attempt, first.stage), (second.user_id, second.attempt, second.stage)] == [
        (ANON, 0, "held"),
        (USER, 1, "delivered"),
    ]


@pytest.mark.parametrize("joined", ["09:50", "10:20"])
def test_a_journey_keeps_the_arm_with_which_it_set_out(joined) -> None:
    """S23: or it would be half of each; whose it was when it set out decides."""
    pinned = ((ANON, "short"), (USER, "holdout"))
    experiment = Experiment("copy", 0.0, (("short", 0.5), ("long", 0.5)), pinned=pinned)
    steps = (Stop((PUSH,), name="a"), Stop((PUSH,), after=span("1h"), name="b"))
    drafts = [Draft("hello", journey=steps, experiment=experiment)]
    found = said(drafts, [by(ANON, "10:00")], [linked(joined)]).decisions
    expected = ["delivered", "delivered"] if joined == "10:20" else ["holdout"]
    assert [one.stage for one in found] == expected
    assert {one.variant for one in found} == ({"short"} if joined == "10:20" else {None})


def test_of_each_attribute_what_was_told_last_stands() -> None:
    draft = Draft("hello", on=On("view", where=None), needs_city=True)
    told = [
        profile("2022-04-21 09:00", user=ANON, city="new"),
        profile("2022-04-21 08:00", city="old", zone="Europe/Berlin"),
    ]
    (one,) = said([draft], [by(USER, "10:30")], [linked()], told).decisions
    assert "new" in one.content
    told = [profile("2022-04-21 09:00", user=ANON, city="theirs"), profile("2022-04-21 09:00", city="own")]
    (one,) = said([draft], [by(USER, "10:30")], [linked()], told).decisions
    assert "own" in one.content


def test_a_segment_of_either_is_the_users_until_a_newer_word() -> None:
    draft = Draft("hello", audience=InSegment())
    for left, count in ((None, 1), ("2022-04-21 09:30", 0)):
        shop = project(draft, linked=True)
        joined = [member("2022-04-21 09:00", user=ANON)] + ([member(left, action="leave")] if left else [])
        outcome = agreed(shop, log(shop, by(USER, "10:30")), ids(shop, linked()), members(shop, *joined))
        assert len(outcome.decisions) == count


def test_a_join_is_no_change() -> None:
    """S19: what the profile becomes by it starts nothing."""
    draft = Draft("moved", on=changes(CITY, None, "x"))
    outcome = said([draft], [by(USER, "10:00")], [linked()], [profile("2022-04-21 09:00", user=ANON, city="x")])
    assert [one.user_id for one in outcome.decisions] == [ANON]


def test_a_date_that_came_to_either_has_come() -> None:
    """S19."""
    born = at("2022-04-21 00:00") // span("1d")
    draft = Draft("birthday", trigger=date_of(time="10:00"))
    told = [profile(None, user=ANON, born=born, zone="Europe/Berlin"), profile(None, born=born)]
    outcome = said([draft], [by(USER, "07:00")], [linked("09:00")], told)
    assert [(one.user_id, one.decided_at) for one in outcome.decisions] == [(ANON, at("2022-04-21 08:00"))]
    assert BERLIN.instant(at("2022-04-21 10:00")) == at("2022-04-21 08:00")


def test_an_occurrence_that_both_wait_out_is_one() -> None:
    """S18."""
    draft = Draft("daily", trigger=scheduled(Daily(10 * 60), delay=span("1h")))
    told = [profile(None, user=ANON, city="x"), profile(None, city="x")]
    outcome = said([draft], [by(USER, "09:00")], [linked()], told)
    assert [one.user_id for one in outcome.decisions] == [USER]


def test_an_event_told_of_both_as_they_become_one_is_one() -> None:
    """S4: at one instant, of the one before the link and of the other after it."""
    shop = project(HELLO, linked=True)
    links = ids(shop, linked(None), linked("10:20", USER, "other"))
    before, after = log(shop, by(ANON, "10:20", id="v")), log(shop, by(USER, "10:20", id="v"))
    outcome = agreed(shop, before, links, after, until=at("2022-04-21 18:00"))
    assert sent(outcome) == [(USER, ("v",), "delivered")]
