"""The model being trained, step by step, and its state between two steps."""

from __future__ import annotations

from typing import Any

import torch

from models.encoders.checkpoint import Checkpoint
from models.encoders.hf import embedded, tokenized
from models.encoders.loading import load_transformer
from producer.training.batches import Batch, Batches
from producer.training.loss import contrastive_loss
from producer.training.recipe import Recipe

# Weak supervision: it is to steady what the pairs teach, not to compete with it.
UNLABELLED_WEIGHT = 0.3
LONGEST_GRADIENT = 1.0
TEXTS_AT_ONCE = 16


class Trainer:
    """AdamW with warm-up and linear decay, on a GPU where there is one. `step` counts the steps made.

    Equal data, recipes and encoders give equal weights, on one kind of device with one number of threads.
    """

    def __init__(self, base: Checkpoint, batches: Batches, recipe: Recipe) -> None:
        self.step = 0
        self._base, self._batches, self._recipe = base, batches, recipe
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tokenizer, model = load_transformer(base)
        self._model: Any = model.to(self._device).train()
        self._parameters = list(self._model.parameters())
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
        batch = self._batches.at(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * rate(self.step, self.steps, self._recipe.warmup)
        loss = self._loss(batch)
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
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self._device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the trainer would have whose `state()` this is."""
        self.step = state["step"]
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self._device.type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"])

    def save(self, folder: str) -> None:
        """Write weights, configuration and tokenizer as transformers reads them."""
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def _loss(self, batch: Batch) -> torch.Tensor:
        recipe = self._recipe
        loss = contrastive_loss(
            self._embed(batch.requests),
            self._embed(batch.passages),
            torch.tensor(batch.answers, device=self._device),
            torch.from_numpy(batch.negative).to(self._device),
            recipe.temperature,
            recipe.symmetric,
        )
        if len(batch.unlabelled) > 1:
            once, again = self._embed(batch.unlabelled), self._embed(batch.unlabelled)
            selves = torch.arange(len(once), device=self._device)
            others = selves[:, None] != selves
            alike = contrastive_loss(once, again, selves, others, recipe.temperature)
            loss = loss + UNLABELLED_WEIGHT * alike
        return loss

    def _embed(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors; texts of similar length go through the model together, so that little is padded."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        parts = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = [texts[place] for place in order[start : start + TEXTS_AT_ONCE]]
            tokens = tokenized(self._tokenizer, part, self._recipe.max_tokens).to(self._device)
            parts.append(embedded(self._model, tokens, self._base.options))
        back = torch.tensor(order, device=self._device).argsort()
        return torch.nn.functional.normalize(torch.cat(parts)[back], dim=1)


def rate(step: int, steps: int, warmup: float) -> float:
    """The learning rate of `step`, counted from 0, as a share of the highest."""
    rising = max(1, round(steps * warmup))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising))
