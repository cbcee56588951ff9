"""The contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(
    queries: Tensor, candidates: Tensor, negative: Tensor, temperature: float, symmetric: bool = False
) -> Tensor:
    """InfoNCE (van den Oord et al., 2018) over the batch, in nats, a scalar.

    Candidate i answers query i: `queries` is [n, d], `candidates` [m, d], m >= n, both of unit length.
    `negative` [n, m] is true where candidate j stands against query i; its diagonal is not read.
    With s_ij = q_i c_j / temperature, the loss is the mean of -log(exp s_ii / (exp s_ii + sum of exp s_ij
    over the negatives j)); where `symmetric`, averaged with that of the n answers against the n queries.
    """
    rows = torch.arange(len(queries), device=queries.device)
    counted = negative.clone()
    counted[rows, rows] = True
    scores = (queries @ candidates.T / temperature).masked_fill(~counted, float("-inf"))
    loss = torch.nn.functional.cross_entropy(scores, rows)
    if symmetric:
        backward = torch.nn.functional.cross_entropy(scores[:, : len(queries)].T, rows)
        loss = (loss + backward) / 2
    return loss
