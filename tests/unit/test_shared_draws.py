"""Contrasts that are measured together: each set of answers is scored once, and no figure moves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from models.core.metrics.paired_effects import PairedSums, effects_of_pairs, paired_effects
from models.core.metrics.significance import Floats

CLUSTERS = 40


def mean(sums: Floats) -> Floats:
    return sums[..., 0] / sums[..., 1]


def answers(cells: int, clusters: int = CLUSTERS) -> list[Floats]:
    values = np.random.default_rng(3).integers(0, 9, size=(cells, clusters)).astype(np.float64)
    return [np.stack([of_cell, np.ones(clusters)], axis=-1) for of_cell in values]


def pair_of(before: list[Floats], after: list[Floats], shuffles: int = 4_999) -> PairedSums:
    return PairedSums(before, after, ["mean"], shuffles)


def all_pairs(cells: list[Floats]) -> list[PairedSums]:
    return [pair_of([before], [after]) for before, after in combinations(cells, 2)]


def test_contrast_has_the_figures_that_it_has_alone() -> None:
    cells = answers(4)
    together = [effects["mean"] for effects in effects_of_pairs(all_pairs(cells), {"mean": mean})]
    for shared, sides in zip(together, combinations(cells, 2), strict=True):
        assert shared == paired_effects(*sides, {"mean": mean}, shuffles=4_999)["mean"]
    assert len({effect.p_value for effect in together}) > 1


def test_exchanged_sides_share_their_draws_with_the_sign_turned() -> None:
    first, second = answers(2)
    there, back = effects_of_pairs([pair_of([first], [second]), pair_of([second], [first])], {"mean": mean})
    assert there["mean"].difference == -back["mean"].difference != 0
    assert (there["mean"].low, there["mean"].p_value) == (-back["mean"].high, back["mean"].p_value)


def scored(pairs: list[PairedSums]) -> int:
    """Return for how many sums of answers a score is asked."""
    asked = 0

    def watched(sums: Floats) -> Floats:
        nonlocal asked
        asked += len(sums)
        return mean(sums)

    effects_of_pairs(pairs, {"mean": watched})
    return asked


def test_contrasts_of_the_same_cells_score_them_once() -> None:
    cells = answers(6)
    pairs = all_pairs(cells)
    alone = scored(pairs)
    over_all = pair_of([before for before, _ in combinations(cells, 2)],
                       [after for _, after in combinations(cells, 2)])  # fmt: skip
    assert scored([*pairs, *pairs, over_all]) <= alone * 1.5
    assert sum(scored([pair]) for pair in [*pairs, *pairs, over_all]) > alone * 2.5


def test_contrasts_that_memory_does_not_hold_together_have_the_same_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = all_pairs(answers(4))
    together = effects_of_pairs(pairs, {"mean": mean})
    monkeypatch.setattr("models.core.metrics.paired_effects.MAX_SHARED", 1)
    assert effects_of_pairs(pairs, {"mean": mean}) == together


def test_family_of_other_size_and_other_rows_keeps_its_order() -> None:
    many, few = answers(2), answers(2, 12)
    pairs = [pair_of([many[0]], [many[1]]), pair_of([few[0]], [few[1]], 99), pair_of([many[1]], [many[0]])]
    differences = [effects["mean"].difference for effects in effects_of_pairs(pairs, {"mean": mean})]
    expected = [float(mean(after.sum(0)) - mean(before.sum(0))) for before, after in (many, few)]
    assert differences == pytest.approx([*expected, -expected[0]])


def test_no_pairs_have_no_effects() -> None:
    assert effects_of_pairs([], {"mean": mean}) == []
