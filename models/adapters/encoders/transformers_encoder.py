"""Weights and tokenizers of a folder, by transformers; nothing is left at random.

Sentence encoders of the BERT and T5 families, run by transformers on the CPU.

A cross-encoder: request and passage are read together, which is slower and better than apart.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.checkpoint import Checkpoint, Options
from models.adapters.encoders.encode_batches import encode_in_batches
from models.adapters.loading import load, load_transformer, quiet_transformers
from models.core.errors import ServiceError

if TYPE_CHECKING:
    from torch import Tensor


class TransformersEncoder:
    """Threads encode a batch each, and torch itself is held to one thread in this process: threads that share
    a batch wait for each other in a busy loop, and are four times slower than one where other work wants
    the cores.
    """

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        self._tokenizer, self._model = load_transformer(checkpoint)
        import torch

        torch.set_num_threads(1)
        self._checkpoint = checkpoint
        self._threads = threads or os.cpu_count() or 1
        # Fast tokenizers refuse to be set up by one thread while another one uses them.
        self._tokenizing = threading.Lock()

    @property
    def dimension(self) -> int:
        return self._checkpoint.dimension

    @property
    def template(self) -> str:
        return self._checkpoint.template

    @property
    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return encode_in_batches(texts, self.dimension, self._threads, self._encode_batch)

    def _encode_batch(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        with self._tokenizing:
            tokens = tokenized(self._tokenizer, texts, self._checkpoint.options.max_tokens)
        with torch.inference_mode():
            vectors: NDArray[np.float32] = embedded(self._model, tokens, self._checkpoint.options).numpy()
        return vectors


def tokenized(tokenizer: Any, texts: list[str], max_tokens: int) -> Any:
    """Token ids and attention mask of `texts` as tensors [len(texts), longest], cut at `max_tokens`."""
    return tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")


def embedded(model: Any, tokens: Any, options: Options) -> Tensor:
    """The vectors [n, dimension] of tokenized texts: the mean over each text's tokens, or its first token."""
    import torch

    states: Tensor = model(**tokens).last_hidden_state
    if options.pooling == "cls":
        pooled = states[:, 0]
    else:
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return torch.nn.functional.normalize(pooled.float(), dim=1) if options.normalize else pooled.float()


SETTING = "passages.reranker"
BATCH_SIZE = 32
MAX_TOKENS = 256


class Reranker:
    """A sequence classifier of transformers with one output, or whose last output means relevant."""

    def __init__(self, folder: str) -> None:
        path = Path(folder).expanduser()
        if not (path / "config.json").is_file():
            raise ServiceError(f"{SETTING}: {folder} holds no config.json; name a saved cross-encoder")
        transformers = quiet_transformers(SETTING)
        import torch

        torch.set_num_threads(1)
        self._tokenizer, self._model = load(
            SETTING, path, transformers.AutoTokenizer, transformers.AutoModelForSequenceClassification
        )
        positions = getattr(self._model.config, "max_position_embeddings", MAX_TOKENS)
        self._max_tokens = min(MAX_TOKENS, int(positions))

    def scores(self, request: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """How relevant each text is to the request, [len(texts)]; compares within one request only."""
        import torch

        found = [np.zeros(0)]
        for start in range(0, len(texts), BATCH_SIZE):
            part = list(texts[start : start + BATCH_SIZE])
            tokens = self._tokenizer(
                [request] * len(part), part, padding=True, truncation=True, max_length=self._max_tokens,
                return_tensors="pt",
            )  # fmt: skip
            with torch.inference_mode():
                logits = self._model(**tokens).logits
            found.append(logits[:, -1].double().numpy())
        return np.concatenate(found)
