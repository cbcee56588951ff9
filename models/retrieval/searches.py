"""The searches of an experiment: cells that differ only in what is shown share one, and its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.retrieval.selection import depth
from models.retrieval.settings import BASE, Passages, Search, Selection


@dataclass(frozen=True, slots=True)
class Searches:
    """`choices` are the settings by the names that cells call them; `of` maps these to names of searches,
    "" for that of the section itself."""

    choices: Mapping[str, Passages]
    of: Mapping[str, str]

    @classmethod
    def read(cls, passages: Passages) -> Searches:
        """A search is called after the first that uses it by alphabet: the order of the alternatives in
        the file is no part of what identifies a run."""
        choices = {name: passages.named(name) for name in (BASE, *sorted(passages.alternatives))}
        first: dict[str, str] = {}
        for name, choice in choices.items():
            first.setdefault(_identity(choice), "" if name == BASE else name)
        return cls(choices, {name: first[_identity(choice)] for name, choice in choices.items()})

    def variant(self, wording: str, retrieval: str) -> str:
        """The unit that finds what `retrieval` shows for this wording: `raw`, or `raw/bm25`."""
        search = self.of[retrieval]
        return f"{wording}/{search}" if search else wording

    def of_variant(self, variant: str) -> tuple[str, Passages, int]:
        """Wording and settings of a unit's search, and how many hits serve all that share it."""
        wording, _, search = variant.partition("/")
        depths = [depth(self.choices[name]) for name, used in self.of.items() if used == search]
        return wording, self.choices[search or BASE], max(depths)


def _identity(passages: Passages) -> str:
    """Equal where one record serves both. A control replaces what would be shown: that is part of it."""
    keys = set(Search.model_fields)
    if passages.control:
        keys |= Selection.model_fields.keys() - {"order"}
    return passages.model_dump_json(include=keys)
