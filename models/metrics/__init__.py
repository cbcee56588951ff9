"""What answers are worth: values in, numbers out. Every score is in percent."""

from models.metrics.bleu import bleu4, bleu_stats, code_tokens, corpus_bleu
from models.metrics.char_bleu import char_bleu, char_bleu_stats
from models.metrics.chrf import chrf_stats, corpus_chrf
from models.metrics.intervals import Interval, bootstrap
from models.metrics.paired import Effect, holm, mcnemar, paired_effects
from models.metrics.pass_at_k import mean_pass_at_k, pass_at_k
from models.metrics.scores import SCORES, WIDTH, as_judged, intervals, row_stats, score, scores

__all__ = [
    "SCORES",
    "WIDTH",
    "Effect",
    "Interval",
    "as_judged",
    "bleu4",
    "bleu_stats",
    "bootstrap",
    "char_bleu",
    "char_bleu_stats",
    "chrf_stats",
    "code_tokens",
    "corpus_bleu",
    "corpus_chrf",
    "holm",
    "intervals",
    "mcnemar",
    "mean_pass_at_k",
    "paired_effects",
    "pass_at_k",
    "row_stats",
    "score",
    "scores",
]
