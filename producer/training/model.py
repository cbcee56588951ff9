"""The encoder being trained: a transformer, on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.encoders.batches import encode_in_batches
from models.encoders.checkpoint import Checkpoint
from models.encoders.hf import embedded, tokenized
from models.encoders.loading import load_transformer

TEXTS_AT_ONCE = 16


class Model:
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
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = [texts[place] for place in order[start : start + TEXTS_AT_ONCE]]
            tokens = tokenized(self._tokenizer, part, limit).to(self.device)
            parts.append(embedded(self.network, tokens, self._base.options))
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
