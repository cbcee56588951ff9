"""The human seeds of a run: the experiment's own, else the shipped ones."""

from __future__ import annotations

from models.experiment import Augment, Rationale
from models.prompts.seeds import AUGMENTATION_SEEDS, RATIONALE_SEEDS
from models.types import Exemplar, Passage


def augmentation_seeds(config: Augment) -> list[tuple[str, str]]:
    """(request, augmentation) pairs."""
    return [(seed.request, seed.augmentation) for seed in config.seeds] or list(AUGMENTATION_SEEDS)


def rationale_seeds(config: Rationale) -> list[Exemplar]:
    """The documentation of an experiment's own seed is one text: it becomes one passage without a name."""
    own = [
        Exemplar(seed.request, "", seed.rationale, _documentation(seed.documentation))
        for seed in config.seeds
    ]
    return own or list(RATIONALE_SEEDS)


def _documentation(text: str) -> tuple[Passage, ...]:
    return (Passage("", "", "", text.strip()),) if text.strip() else ()
