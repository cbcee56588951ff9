"""The ablation grid: which cells it has and in which order the tables show them (paper, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass

from models.experiment import Experiment, RationaleSource


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to ask a student. Its `variant` names it in the ledger."""

    student: str
    shots: int
    retrieval: bool
    rationale: RationaleSource
    augment_test: bool = False

    @property
    def variant(self) -> str:
        parts = [self.student, f"{self.shots}-shot"]
        parts += ["retrieval"] if self.retrieval else []
        parts += [self.rationale] if self.rationale != "none" else []
        parts += ["augmented"] if self.augment_test else []
        return "/".join(parts)

    @property
    def query(self) -> str:
        """Which wording of the test request is asked and searched for."""
        return "augmented" if self.augment_test else "raw"


def cells(experiment: Experiment) -> list[Cell]:
    """The cells in the paper's order: by student, rationale source, shots, retrieval.

    Rationales live in exemplars, so 0 shots go with rationale `none` alone.
    """
    grid = experiment.grid
    return [
        Cell(student.name, shots, retrieval, rationale, augmented)
        for student in experiment.students
        for augmented in grid.augment_test
        for rationale in grid.rationale
        for shots in grid.shots
        for retrieval in grid.retrieval
        if shots > 0 or rationale == "none"
    ]
