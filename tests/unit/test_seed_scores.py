"""Scores over several seeds, and what counts as an answer that parses."""

from __future__ import annotations

import numpy as np
import pytest

from models.core.metrics.proportions import wilson
from models.core.metrics.scores import COUNT, SCORES, SHARES, row_stats, score, wrong_stats
from models.core.metrics.seed_scores import (
    ANYTHING,
    Stats,
    flat_scores,
    flatten,
    intervals,
    score_interval,
    score_of_seeds,
)

REFERENCES = [f"f({number}, key='{number}')" for number in range(30)]


def stats_of(*seeds: list[str]) -> Stats:
    rows = [
        [row_stats(text, right) for text, right in zip(texts, REFERENCES, strict=False)] for texts in seeds
    ]
    return np.array(rows).swapaxes(0, 1)


def half_right(start: int) -> list[str]:
    return [text if number % 2 == start else "g(x)" for number, text in enumerate(REFERENCES)]


def test_a_score_is_the_mean_of_the_scores_of_each_seed() -> None:
    seeds = [half_right(0), [*REFERENCES[:20], *["g(x)"] * 10]]
    stats = stats_of(*seeds)
    for name in SCORES:
        by_seed = [score(texts, REFERENCES)[name] for texts in seeds]
        value, sd = score_of_seeds(stats, name)
        assert value == pytest.approx(np.mean(by_seed))
        assert sd == pytest.approx(np.std(by_seed, ddof=1))
        [flat] = flat_scores([name], 2).values()
        assert flat(flatten(stats).sum(axis=0, dtype=np.float64)[None])[0] == pytest.approx(value)
    assert score_of_seeds(stats[:, :1], "bleu4")[1] is None


def test_a_seed_more_that_says_the_same_narrows_no_interval() -> None:
    once, thrice = stats_of(half_right(0)), stats_of(*[half_right(0)] * 3)
    for name in SCORES:
        one, three = score_interval(once, name), score_interval(thrice, name)
        assert three[1] - three[0] >= 0.98 * (one[1] - one[0]), name


def test_clusters_of_rows_that_are_alike_widen_every_interval() -> None:
    texts = [text if number // 5 % 2 else "g(x)" for number, text in enumerate(REFERENCES)]
    stats = stats_of(texts)
    clusters = np.arange(30) // 5
    apart, together = intervals(stats[:, 0]), intervals(stats[:, 0], clusters=clusters)
    for name in ("exact_match", "bleu4", "char_bleu", "chrf", "token_f1", "accuracy"):
        width, clustered = (high - low for low, high in (apart[name], together[name]))
        assert clustered > 1.3 * width, name


def test_one_row_and_one_question_tell_nothing_of_others() -> None:
    one = stats_of(REFERENCES[:1])
    assert score_interval(one, "bleu4") == ANYTHING
    assert score_interval(one, "exact_match") == pytest.approx(wilson(1, 1))
    question = stats_of(REFERENCES[:4])
    assert score_interval(question, "bleu4", ["q"] * 4) == ANYTHING
    assert score_interval(question, "exact_match", ["q"] * 4) == ANYTHING


def test_corpus_scores_without_spread_have_the_interval_of_a_share() -> None:
    nothing, everything = stats_of([""] * 20), stats_of(REFERENCES[:20])
    for name in SCORES.keys() - SHARES.keys():
        assert score_interval(nothing, name) == pytest.approx(wilson(0, 20)), name
        assert score_interval(everything, name) == pytest.approx(wilson(20, 20)), name


@pytest.mark.parametrize("text", ["", "  \n", "# only words"])
def test_a_text_without_code_does_not_parse(text: str) -> None:
    assert score([text], ["x"])["parse_rate"] == 0
    assert score([text, "x = 1"], ["x", "x"])["parse_rate"] == 50


@pytest.mark.parametrize("reference", ["f(x)", ""])
def test_an_answer_that_is_missing_is_wrong_in_every_respect(reference: str) -> None:
    stats = wrong_stats(reference)
    assert stats[COUNT] == 1
    assert [float(SCORES[name](stats.astype(np.float64))) for name in SCORES] == [0.0] * len(SCORES)
