"""Recall, reciprocal rank and their means, by hand."""

from __future__ import annotations

import pytest

from models.core.experiment.passages import Passages
from models.core.metrics.scores import mean_interval, mean_percent, recall, reciprocal_rank
from models.core.types import Hit, Passage, Query
from producer.index.evaluation import evaluate


def test_recall_is_the_share_of_right_passages() -> None:
    ranked = ["a", "a", "b", "c"]
    assert [recall(ranked, ["b", "x"], k) for k in (1, 2, 10)] == [0, 0.5, 0.5]
    assert recall(ranked, ["a", "a"], 1) == 1


def test_reciprocal_rank_counts_an_id_once() -> None:
    assert reciprocal_rank(["a", "a", "b"], ["b"]) == 0.5
    assert reciprocal_rank([], ["b"]) == 0


def test_mean_percent_and_its_interval() -> None:
    assert (mean_percent([0, 1]), mean_percent([])) == (50, 0)
    low, high = mean_interval([0.0, 1.0] * 50)
    assert 30 < low < 50 < high < 70


def test_both_ways_of_counting() -> None:
    def find(queries: object, depth: int, how: Passages) -> list[list[Hit]]:
        names = [["right", "wrong"], ["wrong", "right"], [], ["right"]]
        return [[Hit(Passage(name, name, "", name), 0.5) for name in each] for each in names]

    queries = [Query("q", oracle=("right",))] * 3 + [Query("q")]
    scores = evaluate(find, Passages(top_k=1), queries, [1, 2])
    assert (scores.n, scores.rows) == (3, 4)
    assert scores.recall == {1: pytest.approx(100 / 3), 2: pytest.approx(200 / 3)}
    assert scores.docprompting == {1: 50, 2: 75}
    assert scores.mrr == pytest.approx(50)
    assert (scores.precision, scores.none_right) == (50, pytest.approx(200 / 3))
    assert (scores.abstained, scores.shown) == (pytest.approx(100 / 3), pytest.approx(2 / 3))
