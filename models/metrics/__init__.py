"""What answers are worth: values in, numbers out. Every score is in percent."""

from models.metrics.bleu import bleu4, bleu_stats, code_tokens, corpus_bleu
from models.metrics.char_bleu import char_bleu, char_bleu_stats
from models.metrics.intervals import Interval, bootstrap
from models.metrics.pass_at_k import mean_pass_at_k, pass_at_k
from models.metrics.scores import Scores, exact_match, score

__all__ = [
    "Interval",
    "Scores",
    "bleu4",
    "bleu_stats",
    "bootstrap",
    "char_bleu",
    "char_bleu_stats",
    "code_tokens",
    "corpus_bleu",
    "exact_match",
    "mean_pass_at_k",
    "pass_at_k",
    "score",
]
