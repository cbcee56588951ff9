"""A cross-encoder: request and passage are read together, which is slower and better than apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ServiceError

BATCH_SIZE = 32
MAX_TOKENS = 256


class Reranker:
    """A sequence classifier of transformers with one output, or whose last output means relevant."""

    def __init__(self, folder: str) -> None:
        path = Path(folder).expanduser()
        if not (path / "config.json").is_file():
            raise ServiceError(
                f"passages.reranker: {folder} holds no config.json; name a saved cross-encoder"
            )
        try:
            import torch
            import transformers
        except ImportError as error:
            raise ServiceError(
                f"passages.reranker: {error.name} is not installed; pip install 'starmill[retrieve]'"
            ) from None
        messages: Any = transformers.utils.logging
        messages.set_verbosity_error()
        messages.disable_progress_bar()
        torch.set_num_threads(1)
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                str(path), local_files_only=True
            )
            model, loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
                str(path), local_files_only=True, output_loading_info=True
            )
        except Exception as error:
            # A folder that somebody made raises whatever its first missing piece raises.
            reason = " ".join(str(error).split())[:200]
            raise ServiceError(
                f"passages.reranker: {path} cannot be loaded ({type(error).__name__}: {reason})"
            ) from error
        if missing := sorted(loaded["missing_keys"]):
            raise ServiceError(
                f"passages.reranker: {path} lacks {missing[0]}: it would rank at random; save a trained one"
            )
        self._model: Any = model.eval()
        positions = getattr(model.config, "max_position_embeddings", MAX_TOKENS)
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
