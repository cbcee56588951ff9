"""Pareto-optimal points: those that no other point beats."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_optimal(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return for each point (cost, score) whether it is optimal: no other costs no more, scores no less, and
    is better in one of the two. Equal points are all optimal or all not."""
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    optimal, best, price = [False] * len(points), float("-inf"), float("-inf")
    for index in order:
        cost, score = points[index]
        if score > best or (score == best and cost == price):
            optimal[index], best, price = True, score, cost
    return optimal
