"""Points that no other beats in cost and score."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.core.metrics.pareto import pareto_optimal

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def test_cheaper_and_better_points_beat_others() -> None:
    assert pareto_optimal([(1, 10), (2, 30), (2, 20), (3, 30), (4, 40), (1, 5)]) == [
        True, True, False, False, True, False,
    ]  # fmt: skip
    assert pareto_optimal([(1, 0), (1, 0)]) == [True, True]
    assert pareto_optimal([]) == []


@given(points)
def test_a_point_is_optimal_if_no_other_beats_it(drawn: list[tuple[int, int]]) -> None:
    def beaten(point: tuple[int, int]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in drawn)

    assert pareto_optimal(drawn) == [not beaten(point) for point in drawn]
