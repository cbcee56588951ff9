"""Rounds of STaR (Zelikman et al., 2022): in each, every train example is reasoned about anew, with right
rationales of the round before as exemplars. How the units of a round are named.

round 1   rationale "" (drawn several times: "sample"), rationalize "pass-1", "pass-2", ...
round 2   rationale "round-2" ("round-2/sample"), rationalize "round-2/pass-1", ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

MOST_ROUNDS = 10
MOST_PASSES = 10
# The variant of rationales that are voted on; what they elect has the variant "", as a single one has.
SAMPLE = "sample"
T = TypeVar("T")


def named(number: int, variant: str = "") -> str:
    """`variant` in round `number`, from 1."""
    return variant if number == 1 else f"round-{number}/{variant}".removesuffix("/")


def passed(number: int, place: int) -> str:
    """The variant of rationalization pass `place`, from 1, in round `number`."""
    return named(number, f"pass-{place}")


def round_of(variant: str) -> int:
    """The round of a rationale's or rationalization's unit."""
    head = variant.partition("/")[0]
    return int(head.removeprefix("round-")) if head.startswith("round-") else 1


def pass_of(variant: str) -> int:
    """0 for a round's first rationale, then the number of the rationalization pass."""
    last = variant.rpartition("/")[2]
    return int(last.removeprefix("pass-")) if last.startswith("pass-") else 0


def rationales(number: int) -> tuple[str, ...]:
    """The variants of all rationales that a round may have; samples are none."""
    return (named(number), *(passed(number, place) for place in range(1, MOST_PASSES + 1)))


def starts(number: int, samples: int) -> str:
    """The variant of the units that a round begins with."""
    return named(number, SAMPLE) if samples > 1 else named(number)


SAMPLES: tuple[str, ...] = tuple(named(number, SAMPLE) for number in range(1, MOST_ROUNDS + 1))


def counting(rounds: Sequence[Sequence[T]], right: Callable[[T], bool]) -> Sequence[T]:
    """The rationales of the round that counts: the latest with a right one, else the latest with any."""
    tried = [each for each in rounds if each]
    found = [each for each in tried if any(map(right, each))]
    return (found or tried or [()])[-1]
