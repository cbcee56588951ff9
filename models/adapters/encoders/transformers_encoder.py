"""Sentence encoders of the BERT and T5 families and cross-encoders, run by transformers on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.checkpoint import Checkpoint, Options
from models.adapters.encoders.encode_batches import BatchEncoder
from models.adapters.loading import load_pretrained, load_transformer, quiet_transformers
from models.core.errors import ServiceError

if TYPE_CHECKING:
    from torch import Tensor


class TransformersEncoder(BatchEncoder):
    """An encoder that runs one batch per thread; torch itself is limited to one thread in this process.

    Threads that share a batch wait for each other in a busy loop. On busy cores they are four times slower
    than a single thread.
    """

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        super().__init__(checkpoint, threads)
        self._tokenizer, self._model = load_transformer(checkpoint)
        import torch

        torch.set_num_threads(1)
        # Fast tokenizers fail if one thread sets them up while another uses them.
        self._tokenizing = threading.Lock()

    def _encode_batch(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        with self._tokenizing:
            tokens = tokenize_texts(self._tokenizer, texts, self._checkpoint.options.max_tokens)
        with torch.inference_mode():
            vectors: NDArray[np.float32] = embed_tokens(self._model, tokens, self._checkpoint.options).numpy()
        return vectors


def tokenize_texts(tokenizer: Any, texts: list[str], max_tokens: int) -> Any:
    """Return token ids and attention mask as tensors [len(texts), longest], cut at `max_tokens`."""
    return tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")


def embed_tokens(model: Any, tokens: Any, options: Options) -> Tensor:
    """Return vectors [n, dimension] of tokenized texts: the mean of each text's tokens, or the first one."""
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
    """A cross-encoder, which reads request and passage together: slower and better than two vectors.

    It is a sequence classifier of transformers with one output, or whose last output means relevant.
    """

    def __init__(self, folder: str) -> None:
        path = Path(folder).expanduser()
        if not (path / "config.json").is_file():
            raise ServiceError(f"{SETTING}: {folder} holds no config.json; name a saved cross-encoder")
        transformers = quiet_transformers(SETTING)
        import torch

        torch.set_num_threads(1)
        self._tokenizer, self._model = load_pretrained(
            SETTING, path, transformers.AutoTokenizer, transformers.AutoModelForSequenceClassification
        )
        positions = getattr(self._model.config, "max_position_embeddings", MAX_TOKENS)
        self._max_tokens = min(MAX_TOKENS, int(positions))

    def scores(self, request: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return each text's relevance to the request, [len(texts)]; compare it within one request only."""
        import torch

        scores = [np.zeros(0)]
        for start in range(0, len(texts), BATCH_SIZE):
            part = list(texts[start : start + BATCH_SIZE])
            tokens = self._tokenizer(
                [request] * len(part), part, padding=True, truncation=True, max_length=self._max_tokens,
                return_tensors="pt",
            )  # fmt: skip
            with torch.inference_mode():
                logits = self._model(**tokens).logits
            scores.append(logits[:, -1].double().numpy())
        return np.concatenate(scores)
