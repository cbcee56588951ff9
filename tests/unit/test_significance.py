"""Paired effects against theory, exact tests, and the paper's own answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.metrics.paired_effects import paired_effects
from models.core.metrics.scores import SCORES, row_stats, score
from models.core.metrics.significance import Floats, holm, mcnemar


def total(sums: Floats) -> Floats:
    return sums[..., 0]


def test_a_difference_of_means_is_as_the_t_test_says() -> None:
    draw = np.random.default_rng(1)
    before = draw.normal(10, 3, size=(400, 1))
    after = before + draw.normal(0.1, 1, size=(400, 1))
    effect = paired_effects(before, after, {"mean": lambda sums: sums[..., 0] / 400}, resamples=4000)["mean"]
    change = after - before
    error = change.std() / 20
    assert effect.difference == pytest.approx(change.mean())
    # Far narrower than the spread of either side alone: rows are drawn with both of their answers.
    assert effect.low == pytest.approx(change.mean() - 1.96 * error, abs=error / 5)
    assert effect.high == pytest.approx(change.mean() + 1.96 * error, abs=error / 5)
    normal = math.erfc(abs(change.mean()) / error / math.sqrt(2))
    assert effect.p_value == pytest.approx(normal, abs=0.02)


def test_equal_answers_have_no_effect() -> None:
    rows = np.array([row_stats(f"f({n})", f"f({n % 3})") for n in range(30)])
    for effect in paired_effects(rows, rows, SCORES, resamples=50, shuffles=99).values():
        assert (effect.difference, effect.low, effect.high, effect.p_value) == (0, 0, 0, 1)


def test_chance_is_found_significant_as_often_as_the_level_says() -> None:
    draw = np.random.default_rng(4)
    significant = [
        paired_effects(*draw.normal(size=(2, 30, 1)), {"sum": total}, seed, resamples=1, shuffles=199)["sum"]
        for seed in range(400)
    ]
    assert 10 <= sum(effect.p_value <= 0.05 for effect in significant) <= 32


def test_sides_exchanged_turn_the_sign() -> None:
    draw = np.random.default_rng(2)
    before, after = draw.integers(0, 9, size=(2, 50, 1))
    there = paired_effects(before, after, {"sum": total})["sum"]
    back = paired_effects(after, before, {"sum": total})["sum"]
    assert (there.difference, there.low, there.high) == (-back.difference, -back.high, -back.low)
    assert there.p_value == pytest.approx(back.p_value, abs=0.02)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5))
def test_randomization_of_flags_is_mcnemar(only_first: int, only_second: int, both: int) -> None:
    first = np.array([1] * only_first + [0] * only_second + [1] * (both + 1))[:, None]
    second = np.array([0] * only_first + [1] * only_second + [1] * (both + 1))[:, None]
    effect = paired_effects(first, second, {"sum": total}, resamples=2)["sum"]
    assert effect.p_value == pytest.approx(mcnemar(only_first, only_second), abs=0.025)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 22 / 1024), (9, 1, 22 / 1024), (0, 6, 2 / 64), (0, 2000, 0.0)],
)
def test_mcnemar_is_exact(only_first: int, only_second: int, p_value: float) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(p_value)


def test_holm_is_step_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_rows_must_be_the_same() -> None:
    for first, second in ((np.ones((2, 1)), np.ones((3, 1))), (np.ones((0, 1)), np.ones((0, 1)))):
        with pytest.raises(ValueError, match="paired rows"):
            paired_effects(first, second, {"sum": total})


def test_few_rows_at_once_are_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by batches of draws, of which there are more than one here."""
    monkeypatch.setattr("models.core.metrics.significance.DRAWS_AT_ONCE", 700)
    draw = np.random.default_rng(3)
    before, after = draw.normal(size=(2, 100, 1))
    effect = paired_effects(before, after, {"sum": total}, shuffles=999)["sum"]
    assert effect.low < effect.difference < effect.high


def test_the_papers_answers_with_and_without_documentation(reference_data: Path) -> None:
    """The difference of two published cells is that of their scores; a cell against itself has none."""
    folder = reference_data / "paper" / "completions_visible"
    cells = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in folder.glob("*")
    }
    (_, first), (_, second) = sorted(cells.items())[:2]
    before, after = (
        np.array([row_stats(row["prediction"], row["reference"]) for row in rows]) for rows in (first, second)
    )
    assert [row["reference"] for row in first] == [row["reference"] for row in second]
    scores = [
        score([row["prediction"] for row in rows], [row["reference"] for row in rows])
        for rows in (first, second)
    ]
    for name, effect in paired_effects(before, after, SCORES, shuffles=199).items():
        assert effect.difference == pytest.approx(scores[1][name] - scores[0][name], abs=1e-6)
        assert effect.low <= effect.difference <= effect.high
        assert 0 < effect.p_value <= 1
