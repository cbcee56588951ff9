"""The contrastive loss.

The encoder being trained: a transformer, on a GPU where there is one.

A model and its optimizer, step by step, and their state between two steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.adapters.encoders.checkpoint import Checkpoint
from models.adapters.encoders.encode_batches import encode_in_batches
from models.adapters.encoders.transformers_encoder import embed_tokens, tokenize_texts
from models.adapters.loading import load_transformer
from producer.index.training_data import TrainingBatch, TrainingBatches, TrainingOptions


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


TEXTS_PER_BATCH = 16


class TrainableEncoder:
    """Begins as the encoder in `base`. Raises ServiceError where that cannot be loaded."""

    def __init__(self, base: Checkpoint) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._base = base
        self._tokenizer, model = load_transformer(base)
        self.network: Any = model.to(self.device)

    def embed(self, texts: list[str], max_tokens: int) -> torch.Tensor:
        """Unit vectors [len(texts), dimension] with their gradients.

        Texts of similar length go through the network together, so that little is padded.
        """
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        limit = min(max_tokens, self._base.options.max_tokens)
        parts = []
        for start in range(0, len(texts), TEXTS_PER_BATCH):
            part = [texts[place] for place in order[start : start + TEXTS_PER_BATCH]]
            tokens = tokenize_texts(self._tokenizer, part, limit).to(self.device)
            parts.append(embed_tokens(self.network, tokens, self._base.options))
        back = torch.tensor(order, device=self.device).argsort()
        return torch.nn.functional.normalize(torch.cat(parts)[back], dim=1)

    def encode(self, texts: tuple[str, ...]) -> NDArray[np.float32]:
        """Unit vectors as the encoder gives them when it is used: without dropout or gradients."""
        self.network.eval()

        @torch.inference_mode()
        def encode(part: list[str]) -> NDArray[np.float32]:
            vectors: NDArray[np.float32] = self.embed(part, self._base.options.max_tokens).cpu().numpy()
            return vectors

        return encode_in_batches(texts, self._base.dimension, 1, encode)

    def save(self, folder: str) -> None:
        """Write weights, configuration and tokenizer as transformers reads them."""
        self.network.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)


# Weak supervision: it is to steady what the pairs teach, not to compete with it.
UNLABELLED_WEIGHT = 0.3
MAX_GRADIENT_NORM = 1.0


class Trainer:
    """AdamW with warm-up and linear decay. `step` counts the steps made.

    Equal data, recipes and models give equal weights, on one kind of device with one number of threads.
    """

    def __init__(self, model: TrainableEncoder, batches: TrainingBatches, recipe: TrainingOptions) -> None:
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
            group["lr"] = self._recipe.learning_rate * learning_rate_share(
                self.step, self.steps, self._recipe.warmup
            )
        loss = self._loss(self._batches.at(self.step))
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
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

    def _loss(self, batch: TrainingBatch) -> torch.Tensor:
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


def learning_rate_share(step: int, steps: int, warmup: float) -> float:
    """The learning rate of `step`, counted from 0, as a share of the highest."""
    rising = max(1, round(steps * warmup))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising))
