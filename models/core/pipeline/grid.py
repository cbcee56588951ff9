"""The ablation grid: which cells it has and in which order the tables show them (paper, Table 1).

The searches of an experiment: cells that differ only in what is shown share one, and its units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from models.core.experiment.experiment import ExemplarChoice, Experiment, Grid, RationaleSource
from models.core.experiment.passages import BASE, Passages, Search, Selection
from models.core.retrieval.passage_selection import depth


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to ask a student. Its `variant` names it in the ledger.

    `retrieval` is empty where no documentation is shown, BASE for what `passages` finds, else the name of
    one of its alternatives. `exemplars` is empty where there are none; it is part of the name where the grid
    has them `vary`.
    """

    student: str
    shots: int
    retrieval: str
    rationale: RationaleSource
    augment_test: bool = False
    exemplars: ExemplarChoice | Literal[""] = ""
    exemplars_vary: bool = False

    @property
    def variant(self) -> str:
        chosen = f"-{self.exemplars}" if self.exemplars_vary else ""
        parts = [self.student, f"{self.shots}-shot{chosen}"]
        parts += [self.retrieval] if self.retrieval else []
        parts += [self.rationale] if self.rationale != "none" else []
        parts += ["augmented"] if self.augment_test else []
        return "/".join(parts)

    @property
    def retrieval_word(self) -> str:
        """`no`, `yes`, or the name of an alternative: as tables and exports say it."""
        return {"": "no", BASE: "yes"}.get(self.retrieval, self.retrieval)

    @property
    def query(self) -> str:
        """Which wording of the test request is asked and searched for."""
        return "augmented" if self.augment_test else "raw"


def cells(experiment: Experiment) -> list[Cell]:
    """The cells in the paper's order: by student, rationale source, shots, choice of exemplars, retrieval.

    Rationales live in exemplars, so 0 shots go with rationale `none` alone, and have none to choose. A run
    that grows requests asks no student.
    """
    grid = experiment.grid
    return [
        Cell(
            student.name,
            shots,
            _name(retrieval),
            rationale,
            augmented,
            exemplars,
            exemplars_vary=bool(exemplars) and len(grid.exemplars) > 1,
        )
        for student in experiment.examined
        for augmented in grid.augment_test
        for rationale in grid.rationale
        for shots in grid.shots
        for exemplars in _choices(grid, shots)
        for retrieval in grid.retrieval
        if shots > 0 or rationale == "none"
    ]


def _choices(grid: Grid, shots: int) -> Sequence[ExemplarChoice | Literal[""]]:
    return grid.exemplars if shots else ("",)


def _name(retrieval: bool | str) -> str:
    if isinstance(retrieval, str):
        return retrieval
    return BASE if retrieval else ""


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
