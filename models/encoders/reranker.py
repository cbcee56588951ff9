"""A cross-encoder: request and passage are read together, which is slower and better than apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.encoders.loading import load, quiet_transformers
from models.errors import ServiceError

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
