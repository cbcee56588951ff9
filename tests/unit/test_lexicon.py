"""BM25 and names over a corpus of three passages, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.core.retrieval.lexicon import K1, B, build_lexicon
from models.core.types import Passage

PASSAGES = [
    Passage("a.sum", "a.sum", "", "add numbers", "a"),
    Passage("a.sort", "a.sort", "", "order numbers of a list", "a"),
    Passage("b.sum", "b.sum", "", "add rows", "b"),
]
LEXICON = build_lexicon(PASSAGES)


def test_bm25_of_one_word() -> None:
    # "row" stands once, in the third passage: library, name twice, two words of text.
    lengths = [5, 8, 5]
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    expected = idf * (K1 + 1) / (1 + K1 * (1 - B + B * lengths[2] / np.mean(lengths)))
    scores = (LEXICON.bag(["rows"]) @ LEXICON.weights).toarray()[0]
    assert scores.tolist() == pytest.approx([0, 0, expected])


def test_rare_words_weigh_more() -> None:
    scores = (LEXICON.bag(["rows", "numbers"]) @ LEXICON.weights).toarray()
    assert scores[0].max() > scores[1].max() > 0


def test_names_and_libraries() -> None:
    bag = LEXICON.bag(["sum"]).toarray()[0]
    assert (LEXICON.names @ bag).tolist() == (LEXICON.last @ bag).tolist() == [1, 0, 1]
    assert [LEXICON.libraries[number] for number in LEXICON.library] == ["a", "a", "b"]


def test_unknown_words_have_no_weight() -> None:
    assert LEXICON.bag(["zebra"]).nnz == 0
    assert LEXICON.bag(["word " * 10_000]).nnz == 0
