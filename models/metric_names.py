"""The scores that a report may show."""

from __future__ import annotations

from typing import Literal

Metric = Literal[
    "bleu4", "char_bleu", "exact_match", "parse_rate", "accuracy", "token_f1", "chrf", "normalised_match",
    "tree_match",
]  # fmt: skip
DEFAULT_METRICS: tuple[Metric, ...] = ("bleu4", "char_bleu", "exact_match", "parse_rate")
