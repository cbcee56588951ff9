"""Stop a run whose model spends the whole token limit on reasoning, before all rows are paid for."""

from __future__ import annotations

from models.core.answers.checks import LIMIT_USED_UP
from models.core.errors import AccessError
from models.core.types import Rejection

MAX_IN_A_ROW = 3


class UsedUpLimits:
    """The answers of one model in one run, as far as this process sees them."""

    def __init__(self) -> None:
        self._accepted = False
        self._in_a_row = 0

    def note(self, name: str, value: object) -> None:
        """Note an accepted answer, or a Rejection. Raise AccessError if the first answers of all hold nothing
        but reasoning: the limit is too low for every row."""
        if not isinstance(value, Rejection):
            self._accepted = True
        if self._accepted or not isinstance(value, Rejection) or value.reason != LIMIT_USED_UP:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row >= MAX_IN_A_ROW:
            raise AccessError(
                f"{name}: {value.detail}; none of its first {self._in_a_row} answers has a text"
            )
