"""The human seeds of a run, as prompts show them."""

from __future__ import annotations

from models.teaching import Augment, Rationale, RationaleSeed
from models.types import Exemplar, Passage


def augmentation_seeds(config: Augment) -> list[tuple[str, str]]:
    """(request, augmentation) pairs."""
    return [(seed.request, seed.augmentation) for seed in config.seeds]


def rationale_seeds(config: Rationale) -> list[Exemplar]:
    """Documentation that is one text becomes one passage without a name."""
    return [Exemplar(seed.request, "", seed.rationale, _passages(seed)) for seed in config.seeds]


def _passages(seed: RationaleSeed) -> tuple[Passage, ...]:
    named = [Passage("", shown.name, shown.signature, shown.text) for shown in seed.passages]
    text = seed.documentation.strip()
    return (*named, *([Passage("", "", "", text)] if text else []))
