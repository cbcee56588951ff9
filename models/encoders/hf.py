"""Sentence encoders of the BERT family, run by transformers on the CPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.encoders.checkpoint import Checkpoint
from models.errors import ServiceError

BATCH_SIZE = 32


class TransformersEncoder:
    """Mean or first-token pooling, then unit length. Batches are sorted by length to pad little.

    Threads encode a batch each, and torch itself is held to one thread in this process: threads that share
    a batch wait for each other in a busy loop, and are four times slower than one where other work wants
    the cores.
    """

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise ServiceError(
                f"passages.encoder: {error.name} is not installed; pip install 'starmill[retrieve]'"
            ) from None
        # Loading reports its progress on standard error, which belongs to the command line.
        messages: Any = transformers.utils.logging
        messages.set_verbosity_error()
        messages.disable_progress_bar()
        torch.set_num_threads(1)
        source = str(checkpoint.path)
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
            model: Any = transformers.AutoModel.from_pretrained(source, local_files_only=True)
        except Exception as error:
            # A folder that somebody made raises whatever its first missing piece raises.
            reason = " ".join(str(error).split())[:200]
            raise ServiceError(
                f"passages.encoder: {source} cannot be loaded ({type(error).__name__}: {reason}); "
                "save it there again with transformers"
            ) from error
        self._model = model.eval()
        self._checkpoint = checkpoint
        self._threads = threads or os.cpu_count() or 1
        # Fast tokenizers refuse to be set up by one thread while another one uses them.
        self._tokenizing = threading.Lock()

    @property
    def dimension(self) -> int:
        return self._checkpoint.dimension

    @property
    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        longest_first = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        batches = [longest_first[start : start + BATCH_SIZE] for start in range(0, len(texts), BATCH_SIZE)]
        words = [[texts[row] for row in rows] for rows in batches]
        with ThreadPoolExecutor(self._threads) as pool:
            for rows, part in zip(batches, pool.map(self._encode_batch, words), strict=True):
                vectors[rows] = part
        return vectors

    def _encode_batch(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        limit = self._checkpoint.max_tokens
        with self._tokenizing:
            tokens = self._tokenizer(
                texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"
            )
        with torch.inference_mode():
            states = self._model(**tokens).last_hidden_state
            if self._checkpoint.pooling == "cls":
                pooled = states[:, 0]
            else:
                mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
                pooled = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            unit = torch.nn.functional.normalize(pooled.float(), dim=1)
        vectors: NDArray[np.float32] = unit.numpy()
        return vectors
