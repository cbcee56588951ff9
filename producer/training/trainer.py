"""A model and its optimizer, step by step, and their state between two steps."""

from __future__ import annotations

from typing import Any

import torch

from producer.training.batches import Batch, Batches
from producer.training.loss import contrastive_loss
from producer.training.model import Model
from producer.training.recipe import Recipe

# Weak supervision: it is to steady what the pairs teach, not to compete with it.
UNLABELLED_WEIGHT = 0.3
LONGEST_GRADIENT = 1.0


class Trainer:
    """AdamW with warm-up and linear decay. `step` counts the steps made.

    Equal data, recipes and models give equal weights, on one kind of device with one number of threads.
    """

    def __init__(self, model: Model, batches: Batches, recipe: Recipe) -> None:
        self.step = 0
        self._model, self._batches, self._recipe = model, batches, recipe
        model.network.train()
        self._parameters = list(model.network.parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        torch.manual_seed(recipe.seed)

    @property
    def steps(self) -> int:
        return self._batches.count

    @property
    def steps_per_epoch(self) -> int:
        return self._batches.per_epoch

    @property
    def is_done(self) -> bool:
        return self.step >= self.steps

    def advance(self) -> float:
        """Make a step; its loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * rate(self.step, self.steps, self._recipe.warmup)
        loss = self._loss(self._batches.at(self.step))
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._parameters, LONGEST_GRADIENT)
        self._optimizer.step()
        self.step += 1
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on."""
        state = {
            "step": self.step,
            "model": self._model.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self._model.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the trainer would have whose `state()` this is."""
        self.step = state["step"]
        self._model.network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self._model.device.type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"])

    def _loss(self, batch: Batch) -> torch.Tensor:
        recipe, device = self._recipe, self._model.device
        loss = contrastive_loss(
            self._model.embed(batch.requests, recipe.max_tokens),
            self._model.embed(batch.passages, recipe.max_tokens),
            torch.tensor(batch.answers, device=device),
            torch.from_numpy(batch.negative).to(device),
            recipe.temperature,
            recipe.symmetric,
        )
        if batch.unlabelled:
            once, again = (self._model.embed(batch.unlabelled, recipe.max_tokens) for _ in range(2))
            selves = torch.arange(len(once), device=device)
            others = selves[:, None] != selves
            alike = contrastive_loss(once, again, selves, others, recipe.temperature)
            loss = loss + UNLABELLED_WEIGHT * alike
        return loss


def rate(step: int, steps: int, warmup: float) -> float:
    """The learning rate of `step`, counted from 0, as a share of the highest."""
    rising = max(1, round(steps * warmup))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising))
