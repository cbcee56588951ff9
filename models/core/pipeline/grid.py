"""The ablation grid: its cells in the order of the paper's Table 1, and the searches that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from models.core.experiment.axes import ExemplarChoice, RationaleSource
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import BASE, Passages, Search, Selection
from models.core.retrieval.passage_selection import search_depth


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to ask a student.

    `retrieval` is empty without documentation, BASE for the section `passages`, else the name of one of its
    alternatives. `exemplars` is empty without exemplars. It is part of the name if the grid has several
    choices. So are `augment_exemplars`, true if exemplars show augmented requests, and `wrong_rationales`,
    true if wrong rationales are shown beside right ones, of a cell with rationales. Exemplars are drawn from
    `train_rows`, or from all of the split if that is 0.
    """

    student: str
    shots: int
    retrieval: str
    rationale: RationaleSource
    augment_test: bool = False
    exemplars: ExemplarChoice | Literal[""] = ""
    exemplars_vary: bool = False
    wrong_rationales: bool = False
    wrong_vary: bool = False
    augment_exemplars: bool = False
    augment_exemplars_vary: bool = False
    train_rows: int = 0

    @property
    def name(self) -> str:
        """The variant of the cell's units in the ledger, such as `student/2-shot/retrieval/star`."""
        shots = [f"{self.shots}-shot", *([self.exemplars] if self.exemplars_vary else [])]
        shots += ["augmented" if self.augment_exemplars else "raw"] if self.augment_exemplars_vary else []
        shots += [f"of-{self.train_rows}"] if self.train_rows else []
        parts = [self.student, "-".join(shots)]
        parts += [self.retrieval] if self.retrieval else []
        parts += [self._shown_rationales] if self.rationale != "none" else []
        parts += ["augmented"] if self.augment_test else []
        return "/".join(parts)

    @property
    def _shown_rationales(self) -> str:
        shown = "all" if self.wrong_rationales else "right"
        return f"{self.rationale}-{shown}" if self.wrong_vary else self.rationale

    @property
    def retrieval_word(self) -> str:
        """The word of tables and exports: `no`, `yes`, or the name of an alternative."""
        return {"": "no", BASE: "yes"}.get(self.retrieval, self.retrieval)

    @property
    def wording(self) -> str:
        """The wording of the test request that is asked and searched for."""
        return "augmented" if self.augment_test else "raw"


def cells(experiment: Experiment) -> list[Cell]:
    """Return the cells in the paper's order: by student, rationale source, shots, exemplars, retrieval.

    Only exemplars show rationales, so 0 shots go with rationale `none` alone, and rationale `none` with the
    first of several `wrong_rationales`. A run that grows requests has no cells.
    """
    grid = experiment.grid
    wrong = grid.wrong_rationales or [not experiment.rationale.drop_wrong]
    no_exemplars: Sequence[ExemplarChoice | Literal[""]] = ("",)
    return [
        Cell(
            student.name,
            shots,
            retrieval if isinstance(retrieval, str) else BASE if retrieval else "",
            rationale,
            augmented,
            exemplars,
            exemplars_vary=bool(exemplars) and len(grid.exemplars) > 1,
            wrong_rationales=shows_wrong,
            wrong_vary=rationale != "none" and len(wrong) > 1,
            augment_exemplars=bool(shots) and shown_augmented,
            augment_exemplars_vary=bool(shots) and len(grid.augment_exemplars or ()) > 1,
            train_rows=train_rows,
        )
        for student in experiment.examined
        for augmented in grid.augment_test
        for rationale in grid.rationale
        for shows_wrong in (wrong if rationale != "none" else wrong[:1])
        for shots in grid.shots
        for exemplars in (grid.exemplars if shots else no_exemplars)
        for shown_augmented in ((grid.augment_exemplars if shots else None) or [augmented])
        for train_rows in ((grid.train_rows if shots else None) or [0])
        for retrieval in grid.retrieval
        if shots > 0 or rationale == "none"
    ]


def prompted_cells(experiment: Experiment) -> list[Cell]:
    """Return the cells whose prompts are made: not those of a student whose answers are recorded by cell."""
    return [cell for cell in cells(experiment) if not experiment.student(cell.student).replays_cells]


@dataclass(frozen=True, slots=True)
class Searches:
    """The searches of an experiment: cells that differ only in what is shown share one, and its units.

    `choices` has the settings of each retrieval of a cell. `search_of` names the search of each, "" for that
    of the section itself.
    """

    choices: Mapping[str, Passages]
    search_of: Mapping[str, str]

    @classmethod
    def read(cls, passages: Passages | None) -> Searches:
        """Name each search by the first alternative in the alphabet that uses it, so that the order of
        alternatives in the file does not change a run's identity. Without passages there is none."""
        if passages is None:
            return cls({}, {})
        choices = {name: passages.named(name) for name in (BASE, *sorted(passages.alternatives))}
        first: dict[str, str] = {}
        for name, choice in choices.items():
            first.setdefault(_identity(choice), "" if name == BASE else name)
        return cls(choices, {name: first[_identity(choice)] for name, choice in choices.items()})

    def unit_name(self, wording: str, retrieval: str) -> str:
        """Return the variant of the unit that searches for this wording, such as `raw` or `raw/bm25`."""
        search = self.search_of[retrieval]
        return f"{wording}/{search}" if search else wording

    def parse_unit_name(self, name: str) -> tuple[str, Passages, int]:
        """Return wording and settings of a unit's search, and the number of hits that serves all its
        users."""
        wording, _, search = name.partition("/")
        users = [retrieval for retrieval, used in self.search_of.items() if used == search]
        return wording, self.choices[search or BASE], max(search_depth(self.choices[user]) for user in users)


def _identity(passages: Passages) -> str:
    """Return a text that is equal for settings that one search serves. A control is part of its search."""
    keys = set(Search.model_fields)
    if passages.control:
        keys |= Selection.model_fields.keys() - {"order"}
    return passages.model_dump_json(include=keys)
