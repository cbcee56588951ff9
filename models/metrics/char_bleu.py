"""Corpus BLEU of characters: sacrebleu with `tokenize="char"`, the rest default."""

from __future__ import annotations

from collections.abc import Sequence

from models.metrics.bleu import Stats, ngram_stats


def char_bleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """charBLEU in percent, as sacrebleu computes it; 0 where there are no rows.

    ValueError where the numbers of predictions and references differ.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.tokenizers.tokenizer_char import TokenizerChar

    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    if not predictions:
        return 0.0
    # `force` silences advice for natural language and changes no number.
    bleu = BLEU(tokenize="char", force=True)
    score = float(bleu.corpus_score(list(predictions), [list(references)]).score)
    # sacrebleu remembers 65,536 rows that no later call can meet again.
    TokenizerChar.__call__.cache_clear()
    return score


def char_bleu_stats(prediction: str, reference: str) -> Stats:
    """The stats of a row, shape [10]; `corpus_bleu(sums, smooth=True)` of them equals `char_bleu`."""
    return ngram_stats("".join(prediction.split()), "".join(reference.split()))
