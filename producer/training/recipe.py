"""What decides the weights that a training ends with, besides its data and the encoder it begins with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """`learning_rate` is the highest: it rises over the first `warmup` (a share of all steps) and falls to 0.

    `hard_negatives` passages for each pair are drawn, anew in each epoch, from the 30 that the encoder ranks
    highest and that are no answers. `unlabelled` passages in each step are paired with themselves under
    another dropout (SimCSE, Gao et al., 2021). `symmetric` also asks each passage for its request.
    `max_tokens` cuts texts while training only.
    """

    epochs: int = 10
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 5e-5
    temperature: float = 0.05
    warmup: float = 0.1
    weight_decay: float = 0.01
    hard_negatives: int = 0
    unlabelled: int = 0
    symmetric: bool = False
    max_tokens: int = 64
