"""The contrastive loss, the encoder that learns by it, and the training loop with its saved state."""

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
    """Return the InfoNCE loss (van den Oord et al., 2018) of a batch, in nats, a scalar.

    `queries` is [n, d], `candidates` [m, d], both of unit length; candidate `answers[i]` answers query i, and
    `negative` [n, m] is true if candidate j is a negative of query i. With s_ij = q_i c_j / temperature and
    a = answers[i], the loss is the mean over i of -log(exp s_ia / (exp s_ia + sum of exp s_ij over the
    negatives j of i)). With `symmetric`, it is the average of this and the same loss for each answer against
    the queries that it does not answer.
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
    """A copy of the encoder `base`, on a GPU if there is one. Raises ServiceError if it cannot be loaded."""

    def __init__(self, base: Checkpoint) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._base = base
        self._tokenizer, model = load_transformer(base)
        self.network: Any = model.to(self.device)

    def embed(self, texts: list[str], max_tokens: int) -> torch.Tensor:
        """Return unit vectors [len(texts), dimension] with gradients.

        Texts of similar length make a batch, so that little is padded.
        """
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        limit = min(max_tokens, self._base.options.max_tokens)
        parts = []
        for start in range(0, len(texts), TEXTS_PER_BATCH):
            part = [texts[index] for index in order[start : start + TEXTS_PER_BATCH]]
            tokens = tokenize_texts(self._tokenizer, part, limit).to(self.device)
            parts.append(embed_tokens(self.network, tokens, self._base.options))
        back = torch.tensor(order, device=self.device).argsort()
        return torch.nn.functional.normalize(torch.cat(parts)[back], dim=1)

    def encode(self, texts: tuple[str, ...]) -> NDArray[np.float32]:
        """Return unit vectors without dropout or gradients, for the search."""
        self.network.eval()

        @torch.inference_mode()
        def encode(part: list[str]) -> NDArray[np.float32]:
            vectors: NDArray[np.float32] = self.embed(part, self._base.options.max_tokens).cpu().numpy()
            return vectors

        return encode_in_batches(texts, self._base.dimension, 1, encode)

    def save(self, folder: str) -> None:
        """Write weights, configuration and tokenizer in the layout of transformers."""
        self.network.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)


# Unlabelled passages are weak supervision: they steady the pairs' loss and must not outweigh it.
UNLABELLED_WEIGHT = 0.3
MAX_GRADIENT_NORM = 1.0


class Trainer:
    """AdamW with warm-up and linear decay. `step` counts the steps made.

    Equal data, options and encoders give equal weights, on one kind of device with one number of threads.
    """

    def __init__(self, encoder: TrainableEncoder, batches: TrainingBatches, options: TrainingOptions) -> None:
        self.step = 0
        self.batches = batches
        self._encoder, self._options = encoder, options
        self._network = encoder.network.train()
        self._parameters = list(self._network.parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=options.learning_rate, weight_decay=options.weight_decay
        )
        torch.manual_seed(options.seed)

    def advance(self) -> float:
        """Make a step and return its loss."""
        share = learning_rate_share(self.step, self.batches.count, self._options.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.learning_rate * share
        loss = self._loss(self.batches.at(self.step))
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        self._optimizer.step()
        self.step += 1
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """Return all that the next steps depend on."""
        state = {
            "step": self.step,
            "model": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self._encoder.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state()`."""
        self.step = state["step"]
        self._network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self._encoder.device.type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"])

    def _loss(self, batch: TrainingBatch) -> torch.Tensor:
        options, device = self._options, self._encoder.device
        loss = contrastive_loss(
            self._encoder.embed(batch.requests, options.max_tokens),
            self._encoder.embed(batch.passages, options.max_tokens),
            torch.tensor(batch.answers, device=device),
            torch.from_numpy(batch.negative).to(device),
            options.temperature,
            options.symmetric,
        )
        if batch.unlabelled:
            once, again = (self._encoder.embed(batch.unlabelled, options.max_tokens) for _ in range(2))
            selves = torch.arange(len(once), device=device)
            others = selves[:, None] != selves
            loss = loss + UNLABELLED_WEIGHT * contrastive_loss(
                once, again, selves, others, options.temperature
            )
        return loss


def learning_rate_share(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate of `step`, counted from 0, as a share of the highest."""
    rising = max(1, round(steps * warmup))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising))
