"""Corpus BLEU of characters: sacrebleu with `tokenize="char"`, the rest default."""

from __future__ import annotations

from models.metrics.bleu import MAX_ORDER, Stats, ngram_stats


def char_bleu_stats(prediction: str, reference: str) -> Stats:
    """`ngram_stats` of a row's characters, blanks left out: shape [10]."""
    return ngram_stats("".join(prediction.split()), "".join(reference.split()))


def char_bleu(sums: Stats) -> float:
    """charBLEU in percent of summed stats, shape [10], by sacrebleu; 0 where there are no rows.

    `corpus_bleu(sums, smooth=True)` gives the same for many corpora at once.
    """
    from sacrebleu.metrics.bleu import BLEU

    predicted, expected, *counts = (int(number) for number in sums)
    found = BLEU.compute_bleu(
        counts[:MAX_ORDER], counts[MAX_ORDER:], predicted, expected, smooth_method="exp"
    )
    return float(found.score)
