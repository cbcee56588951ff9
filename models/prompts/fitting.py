"""What of a prompt is left out where the model's context is too short for all of it.

Documentation goes first, worked examples next, the request never. Documentation of the examples goes before
the request's own: it only shows a form, while the request's is what there is to answer from. The passage of
the lowest rank goes first, and the exemplar that was drawn last.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is shown: the best `passages` of the request, and the first `exemplars`, as many passages
    with each."""

    passages: int
    exemplars: tuple[int, ...] = ()


def extents(whole: Extent) -> list[Extent]:
    """`whole`, then what is left after each drop, down to the request alone."""
    left = [whole]
    shown = list(whole.exemplars)
    for place in reversed(range(len(shown))):
        for count in reversed(range(shown[place])):
            shown[place] = count
            left.append(Extent(whole.passages, tuple(shown)))
    left += [Extent(count, tuple(shown)) for count in reversed(range(whole.passages))]
    left += [Extent(0, tuple(shown[:count])) for count in reversed(range(len(shown)))]
    return left


def first_that_fits(ways: Sequence[Extent], fits: Callable[[Extent], bool]) -> int:
    """The place of the first of `extents` that fits, or their number where none does. Few are tried: what
    follows one that fits is taken to fit."""
    return 0 if fits(ways[0]) else bisect_left(ways, True, lo=1, key=fits)


def dropped(whole: Extent, shown: Extent) -> dict[str, int]:
    """How many `passages`, those of exemplars included, and how many `exemplars` are missing."""
    passages = whole.passages + sum(whole.exemplars) - shown.passages - sum(shown.exemplars)
    return {"passages": passages, "exemplars": len(whole.exemplars) - len(shown.exemplars)}
