"""Seeds, and failures that are made smaller."""

from __future__ import annotations

import pairs
import pytest

import chance as st

NUMBERS = st.lists(st.integers(0, 100) | st.none(), max_size=20)


def few(numbers: list[int | None]) -> None:
    assert len([each for each in numbers if each is not None and each >= 50]) < 2


def test_a_seed_is_a_value() -> None:
    first, again, other = (str(st.Chance(seed).draw(pairs.PAIRS)[0]) for seed in (7, 7, 8))
    assert first == again != other


def test_what_was_chosen_can_be_drawn_again() -> None:
    chance = st.Chance(7)
    drawn = chance.draw(pairs.PAIRS)
    assert str(st.Chance(choices=chance.choices).draw(pairs.PAIRS)[0]) == str(drawn[0])


def test_every_size_and_option_is_drawn() -> None:
    drawn = [st.Chance(seed).draw(NUMBERS) for seed in range(500)]
    assert {len(each) for each in drawn} == set(range(21))
    assert {number for each in drawn for number in each} == {None, *range(101)}


def test_a_failure_is_made_smaller() -> None:
    with pytest.raises(AssertionError, match="made smaller"):
        st.given(NUMBERS)(few)()
    seed = next(seed for seed in range(100) if len(st.Chance(seed).draw(NUMBERS)) == 20)
    assert st.smallest(NUMBERS, seed, few)[0] == [50, 50]
