"""What is checked before an answer counts: parsers return it, or a Rejection with one of REASONS."""

from models.answers.augmentation import parse_augmentation, parse_augmentations
from models.answers.checks import check
from models.answers.pairs import Pair, parse_pairs
from models.answers.rationale import Rationale, parse_rationale
from models.answers.reasons import REASONS, Reason
from models.answers.verdict import parse_verdict
from models.extraction import extract_prediction

__all__ = [
    "REASONS",
    "Pair",
    "Rationale",
    "Reason",
    "check",
    "extract_prediction",
    "parse_augmentation",
    "parse_augmentations",
    "parse_pairs",
    "parse_rationale",
    "parse_verdict",
]
