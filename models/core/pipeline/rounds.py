"""Rounds of STaR (Zelikman et al., 2022), and the names of their units in the ledger.

In each round every train example is reasoned about anew, with right rationales of the round before as
exemplars.

round 1   rationale "" (drawn several times: "sample"), rationalize "pass-1", "pass-2", ...
round 2   rationale "round-2" ("round-2/sample"), rationalize "round-2/pass-1", ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

MAX_ROUNDS = 10
MAX_PASSES = 10
# The name of rationales that are voted on. The winner has the name "", like a single rationale.
SAMPLE = "sample"
T = TypeVar("T")


def in_round(number: int, name: str = "") -> str:
    """Return the name that a unit has in round `number`, from 1."""
    return name if number == 1 else f"round-{number}/{name}".removesuffix("/")


def pass_name(round_number: int, pass_number: int) -> str:
    """Return the name of a rationalization pass; both numbers count from 1."""
    return in_round(round_number, f"pass-{pass_number}")


def round_of(name: str) -> int:
    """Return the round of a rationale's or rationalization's unit."""
    head = name.partition("/")[0]
    return int(head.removeprefix("round-")) if head.startswith("round-") else 1


def pass_of(name: str) -> int:
    """Return the number of the rationalization pass, 0 for a round's first rationale."""
    last = name.rpartition("/")[2]
    return int(last.removeprefix("pass-")) if last.startswith("pass-") else 0


def rationale_names(number: int) -> tuple[str, ...]:
    """Return the names of all rationales that a round may have, without samples."""
    return (in_round(number), *(pass_name(number, each) for each in range(1, MAX_PASSES + 1)))


SAMPLES: tuple[str, ...] = tuple(in_round(number, SAMPLE) for number in range(1, MAX_ROUNDS + 1))


def deciding_round(rounds: Sequence[Sequence[T]], is_right: Callable[[T], bool]) -> Sequence[T]:
    """Return the rationales of the latest round with a right one, else of the latest round with any."""
    answered = [rationales for rationales in rounds if rationales]
    solved = [rationales for rationales in answered if any(map(is_right, rationales))]
    return (solved or answered or [()])[-1]
