"""Self-consistency (Wang et al., 2022): of several answers to one question, the one given most often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.syntax import normal_form


@dataclass(frozen=True, slots=True)
class Vote:
    """`place` is the first answer of the winning group. Of `samples` answers `winner` agree with it, and
    `groups` different ones were given."""

    place: int
    samples: int
    winner: int
    groups: int


def majority(codes: Sequence[str], form_of: Callable[[str], str] = normal_form) -> Vote:
    """The most frequent code; of equally frequent ones that which was drawn first.

    Codes are the same where `form_of` gives the same: as it stands, where their syntax trees are, or, where
    Python cannot parse them, where they differ in white space only. Blank ones abstain, unless all are.
    Raises ValueError without codes.
    """
    groups: dict[str, list[int]] = {}
    for place, code in enumerate(codes):
        groups.setdefault(form_of(code), []).append(place)
    if not groups:
        raise ValueError("no answers to vote on")
    said = [places for form, places in groups.items() if form] or list(groups.values())
    winner = max(said, key=len)
    return Vote(winner[0], len(codes), len(winner), len(said))
