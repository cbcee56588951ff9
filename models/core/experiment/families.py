"""The contrasts of the grid that an experiment declares before its run: axes, or pairs of an axis' levels.

What is declared makes a family of tests, whose p-values are corrected together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationInfo

from models.core.near_names import did_you_mean, nearest

Level = bool | int | str
# An axis, with the two levels of one contrast.
LevelPair = dict[str, list[Level]]
Contrasts = list[str | LevelPair] | Literal["explore"]
FORM = "takes explore, or a list of axes such as rationale and pairs such as rationale: [first_pass, star]"


def read_contrasts(value: Any) -> Contrasts | None:
    """Return the declaration with one axis an item. Raise ValueError if it is of another form."""
    match value:
        case None | "explore":
            return value
        case str():
            raise ValueError(did_you_mean(value, ["explore"]) or f"{FORM}; write it in brackets: [{value}]")
        case [*items] if items:
            return [item for each in items for item in _items(each)]
        case {**axes} if axes:
            return [*_items(axes)]
    raise ValueError(FORM)


def _items(item: Any) -> Iterator[str | LevelPair]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, Mapping) and item:
        for axis, levels in item.items():
            if not isinstance(levels, list) or len(levels) != 2:
                raise ValueError(f"{axis} takes two levels, the first to be compared with: [LEVEL, LEVEL]")
            yield {str(axis): levels}
    else:
        raise ValueError(FORM)


def contrasts_of_axes(contrasts: Contrasts | None, grid: ValidationInfo) -> Contrasts | None:
    """Return the contrasts of a grid. Raise ValueError if one names an axis or level that the grid lacks."""
    axes = {name: levels or [] for name, levels in grid.data.items() if name != "seeds"}
    for item in contrasts if isinstance(contrasts, list) else ():
        pairs = {item: []} if isinstance(item, str) else item
        for axis, levels in pairs.items():
            if axis not in axes:
                raise ValueError(f"names {axis}, which is no axis of the grid; {nearest(axis, [*axes])}")
            if len(axes[axis]) < 2:
                raise ValueError(f"names {axis}, which has one level only; give grid.{axis} two")
            _require_pair(axis, levels, axes[axis])
    return contrasts


def _require_pair(axis: str, levels: Sequence[Level], known: Sequence[Level]) -> None:
    words = [json.dumps(level).strip('"') for level in known]
    for level in levels:
        word = json.dumps(level, default=str).strip('"')
        # true is no 1
        if not any(type(level) is type(each) and level == each for each in known):
            raise ValueError(f"grid.{axis} has no level {word}; {nearest(word, words)}")
    if levels and levels[0] == levels[1]:
        raise ValueError(f"compares {axis} {words[known.index(levels[0])]} with itself")
