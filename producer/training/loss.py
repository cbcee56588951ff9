"""The contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(
    queries: Tensor,
    candidates: Tensor,
    answers: Tensor,
    negative: Tensor,
    temperature: float,
    symmetric: bool = False,
) -> Tensor:
    """InfoNCE (van den Oord et al., 2018) over a batch, in nats, a scalar.

    `queries` is [n, d], `candidates` [m, d], both of unit length; candidate `answers[i]` answers query i, and
    `negative` [n, m] is true where candidate j stands against query i. With s_ij = q_i c_j / temperature and
    a = answers[i], the loss is the mean over i of -log(exp s_ia / (exp s_ia + sum of exp s_ij over the
    negatives j of i)). Where `symmetric`, averaged with the same for a against the queries that it does not
    answer.
    """
    rows = torch.arange(len(queries), device=queries.device)
    scores = (queries @ candidates.T / temperature).masked_fill(~negative, float("-inf"))
    right = (queries * candidates[answers]).sum(dim=1) / temperature
    scores = scores.index_put((rows, answers), right)
    loss = torch.nn.functional.cross_entropy(scores, answers)
    if symmetric:
        against = scores[:, answers].masked_fill(~negative[:, answers], float("-inf"))
        backward = torch.nn.functional.cross_entropy(against.index_put((rows, rows), right).T, rows)
        loss = (loss + backward) / 2
    return loss
