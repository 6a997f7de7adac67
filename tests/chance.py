"""Random values by a seed: so much of hypothesis' strategies as `strategies.py` needs, at a small part of their cost.

All that is drawn comes of whole numbers, which are kept: a list of choices says what was drawn, can be drawn again,
and made smaller. The least choice is always the simplest: of `sampled_from` the first, of a list that it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from random import Random
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
U = TypeVar("U")

MORE = 12
"""A list without a most has so many beyond its least."""

FEW = 4
"""So many values at most are drawn for a set."""

TRIES = 30
"""How often a value is drawn anew that is there already where each must differ."""


class Unsatisfied(Exception):  # noqa: N818 - it is no error
    """These choices make no value: only those of another draw, or made smaller, do that."""


class Chance:
    """Choices: by a seed, or such as were made before; once these are used up, the simplest."""

    def __init__(self, seed: int | None = None, choices: Sequence[int] | None = None) -> None:
        self.choices: list[int] = []
        self.elements: list[tuple[int, int]] = []
        """Where the choices of an element of a list begin and end: what can be left out."""
        if choices is None:
            random = Random(seed).random
            self._choose: Callable[[int], int] = lambda bound: int(random() * bound)
        else:
            left = iter(choices)
            self._choose = lambda bound: min(next(left, 0), bound - 1)

    def below(self, bound: int) -> int:
        choice = self._choose(bound)
        self.choices.append(choice)
        return choice

    def draw(self, strategy: SearchStrategy[T]) -> T:
        return strategy.draw(self)


class SearchStrategy(Generic[T]):
    """How values of a kind are drawn."""

    def __init__(self, draw: Callable[[Chance], T]) -> None:
        self.draw = draw

    def map(self, then: Callable[[T], U]) -> SearchStrategy[U]:
        draw = self.draw
        return SearchStrategy(lambda chance: then(draw(chance)))

    def __or__(self, other: SearchStrategy[U]) -> SearchStrategy[T | U]:
        return _Either([self, other])


class _Either(SearchStrategy[T]):
    """One of several, each as likely: of `a | b | c` also the third."""

    def __init__(self, options: Sequence[SearchStrategy[Any]]) -> None:
        draws = [option.draw for option in options]
        super().__init__(lambda chance: draws[chance.below(len(draws))](chance))
        self.options = [*options]

    def __or__(self, other: SearchStrategy[U]) -> SearchStrategy[T | U]:
        return _Either([*self.options, other])


DrawFn: TypeAlias = Callable[[SearchStrategy[Any]], Any]


def composite(function: Callable[..., T]) -> Callable[..., SearchStrategy[T]]:
    """A strategy that draws from others as it goes."""

    @wraps(function)
    def made(*args: Any, **kwargs: Any) -> SearchStrategy[T]:
        return SearchStrategy(lambda chance: function(chance.draw, *args, **kwargs))

    return made


def just(value: T) -> SearchStrategy[T]:
    return SearchStrategy(lambda _chance: value)


def none() -> SearchStrategy[None]:
    return just(None)


def sampled_from(values: Sequence[T]) -> SearchStrategy[T]:
    values = tuple(values)
    return SearchStrategy(lambda chance: values[chance.below(len(values))])


def integers(least: int, most: int) -> SearchStrategy[int]:
    return SearchStrategy(lambda chance: least + chance.below(most - least + 1))


def booleans() -> SearchStrategy[bool]:
    return sampled_from([False, True])


def one_of(*options: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return _Either(options)


def builds(made: Callable[..., T], *args: SearchStrategy[Any], **kwargs: SearchStrategy[Any]) -> SearchStrategy[T]:
    return SearchStrategy(
        lambda chance: made(
            *[each.draw(chance) for each in args], **{name: each.draw(chance) for name, each in kwargs.items()}
        )
    )


def tuples(*parts: SearchStrategy[Any]) -> SearchStrategy[tuple[Any, ...]]:
    return SearchStrategy(lambda chance: tuple([part.draw(chance) for part in parts]))


def lists(
    of: SearchStrategy[T], *, min_size: int = 0, max_size: int | None = None, unique: bool = False
) -> SearchStrategy[list[T]]:
    """Every size is as likely. Each element follows the choice that there is one, so both can be left out together."""
    most = min_size + MORE if max_size is None else max_size
    draw = of.draw

    def made(chance: Chance) -> list[T]:
        found: list[T] = []
        while len(found) < most:
            start = len(chance.choices)
            if len(found) >= min_size and not chance.below(most - len(found) + 1):
                break
            found.append(_another(chance, draw, found) if unique else draw(chance))
            chance.elements.append((start, len(chance.choices)))
        return found

    return SearchStrategy(made)


def _another(chance: Chance, draw: Callable[[Chance], T], known: list[T]) -> T:
    for _ in range(TRIES):
        value = draw(chance)
        if value not in known:
            return value
    raise Unsatisfied


def sets(of: SearchStrategy[T], *, min_size: int = 0) -> SearchStrategy[set[T]]:
    """A few values; of those that are drawn again, one."""
    return lists(of, min_size=min_size, max_size=max(min_size, FEW)).map(set)


def frozensets(of: SearchStrategy[T], *, min_size: int = 0) -> SearchStrategy[frozenset[T]]:
    return sets(of, min_size=min_size).map(frozenset)


def data() -> SearchStrategy[DrawFn]:
    """To draw on, in the test."""
    return SearchStrategy(lambda chance: chance.draw)


# Tests


def given(*of: SearchStrategy[Any], examples: int = 80) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """A test of so many examples, those of the seeds from 0 on."""

    def over(test: Callable[..., None]) -> Callable[[], None]:
        def all_of_them() -> None:
            for seed in range(examples):
                attempt(tuples(*of), seed, lambda values: test(*values))

        all_of_them.__name__, all_of_them.__doc__ = test.__name__, test.__doc__
        all_of_them.__module__ = test.__module__
        return all_of_them

    return over


def attempt(strategy: SearchStrategy[T], seed: int, test: Callable[[T], U]) -> U:
    """Try the seed's value; where that fails, fail with the least value that fails, and what is wrong with it."""
    try:
        return test(Chance(seed).draw(strategy))
    except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
        value, error = smallest(strategy, seed, test)
    shown = "\n".join(map(str, value)) if isinstance(value, tuple) else str(value)
    raise AssertionError(f"seed {seed}, made smaller:\n{shown}") from error


def smallest(
    strategy: SearchStrategy[T], seed: int, test: Callable[[T], Any], *, tries: int = 4000
) -> tuple[T, Exception]:
    """The simplest value that fails as that of the seed does, and how: choices are left out, the others made lower."""
    best = Chance(seed)
    found = _failure(strategy, best, test)
    assert found is not None
    left = tries

    def better(choices: list[int]) -> bool:
        nonlocal best, found, left
        if left <= 0:
            return False
        left -= 1
        chance = Chance(choices=choices)
        failure = _failure(strategy, chance, test)
        if failure is None or (len(chance.choices), chance.choices) >= (len(best.choices), best.choices):
            return False
        best, found = chance, failure
        return True

    while _left_out(lambda: best, better) | _lowered(lambda: best, better):
        pass
    return found


def _failure(strategy: SearchStrategy[T], chance: Chance, test: Callable[[T], Any]) -> tuple[T, Exception] | None:
    try:
        value = chance.draw(strategy)
    except Unsatisfied:
        return None
    try:
        test(value)
    except Unsatisfied:
        return None
    except Exception as error:  # noqa: BLE001
        return value, error
    return None


def _left_out(best: Callable[[], Chance], better: Callable[[list[int]], bool]) -> bool:
    """Elements of lists, the longest first."""
    improved, at = False, 0
    while at < len(spans := sorted(best().elements, key=lambda span: span[0] - span[1])):
        (start, end), choices = spans[at], best().choices
        done = better([*choices[:start], *choices[end:]])
        improved |= done
        at += not done
    return improved


def _lowered(best: Callable[[], Chance], better: Callable[[list[int]], bool]) -> bool:
    improved, at = False, 0
    while at < len(best().choices):
        choice = best().choices[at]
        for lower in sorted({0, choice // 2, choice - 1} - {choice, -1}):
            choices = list(best().choices)
            choices[at] = lower
            if better(choices):
                improved = True
                break
        at += 1
    return improved
