"""The loss against sums done by hand."""

from __future__ import annotations

import math

import pytest
import torch

from producer.index.trainer import contrastive_loss, learning_rate_share

QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
CANDIDATES = torch.tensor([[0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
ANSWERS = torch.tensor([0, 1])


def every(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_value_is_that_of_a_hand_computation() -> None:
    # Query 0 scores 0.8, 0.0, 0.6 and query 1 scores 0.6, 1.0, 0.8; the temperature is 0.5.
    first = -math.log(math.exp(1.6) / (math.exp(1.6) + math.exp(0.0) + math.exp(1.2)))
    second = -math.log(math.exp(2.0) / (math.exp(1.2) + math.exp(2.0) + math.exp(1.6)))
    negative = every([[0, 1, 1], [1, 0, 1]])
    loss = contrastive_loss(QUERIES, CANDIDATES, ANSWERS, negative, 0.5)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_masked_negative_does_not_change_the_loss() -> None:
    first = -math.log(math.exp(1.6) / (math.exp(1.6) + math.exp(1.2)))
    negative = every([[0, 0, 1], [0, 0, 0]])
    loss = contrastive_loss(QUERIES, CANDIDATES, ANSWERS, negative, 0.5)
    assert loss.item() == pytest.approx(first / 2)


def test_two_queries_with_one_answer_are_no_negatives_of_each_other() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    answers, negative = torch.tensor([0, 0]), every([[0, 1, 1], [0, 1, 1]])
    one_way = contrastive_loss(queries, CANDIDATES, answers, negative, 0.5)
    both_ways = contrastive_loss(queries, CANDIDATES, answers, negative, 0.5, symmetric=True)
    # The answer has nothing against it: asked backwards, there is nothing to learn.
    assert both_ways.item() == pytest.approx(one_way.item() / 2)


def test_symmetric_loss_asks_answers_for_their_queries() -> None:
    first = -math.log(math.exp(1.6) / (math.exp(1.6) + math.exp(1.2)))
    second = -math.log(math.exp(2.0) / (math.exp(0.0) + math.exp(2.0)))
    negative = every([[0, 1, 1], [1, 0, 1]])
    one_way = contrastive_loss(QUERIES, CANDIDATES, ANSWERS, negative, 0.5)
    both_ways = contrastive_loss(QUERIES, CANDIDATES, ANSWERS, negative, 0.5, symmetric=True)
    assert both_ways.item() == pytest.approx((one_way.item() + (first + second) / 2) / 2)


def test_masked_scores_leave_the_gradient_finite() -> None:
    queries = QUERIES.clone().requires_grad_()
    negative = every([[0, 0, 0], [1, 0, 1]])
    torch.autograd.backward(contrastive_loss(queries, CANDIDATES, ANSWERS, negative, 0.05, symmetric=True))
    assert queries.grad is not None
    assert torch.isfinite(queries.grad).all()


def test_rate_rises_and_falls_in_straight_lines() -> None:
    shares = [learning_rate_share(step, 10, warmup=0.4) for step in range(10)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1]
    assert shares[4] == 1
    assert shares[5:] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert learning_rate_share(0, 1, warmup=0.0) == 1
