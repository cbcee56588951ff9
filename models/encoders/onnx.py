"""Sentence encoders as ONNX graphs, run by ONNX Runtime without torch: quick to start, small in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.encoders.batches import encode_in_batches
from models.encoders.checkpoint import Checkpoint
from models.errors import ServiceError

STATES = "last_hidden_state"
SHORTEST = 1e-12


class OnnxEncoder:
    """Threads encode a batch each; the graph itself runs in the thread that asks."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        try:
            import onnxruntime
            import tokenizers
        except ImportError as error:
            raise ServiceError(
                f"passages.encoder: {error.name} is not installed; pip install 'starmill[onnx]'"
            ) from None
        settings: Any = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        graph = checkpoint.weights[0]
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(checkpoint.path / "tokenizer.json"))
            self._session: Any = onnxruntime.InferenceSession(
                str(graph), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # Both raise classes of their own for whatever they cannot read.
            reason = " ".join(str(error).split())[:200]
            raise ServiceError(
                f"passages.encoder: {graph} cannot be loaded ({type(error).__name__}: {reason}); "
                "export it again"
            ) from error
        self._tokenizer.enable_truncation(checkpoint.options.max_tokens)
        self._tokenizer.enable_padding(**_padding(self._tokenizer))
        self._inputs = {given.name for given in self._session.get_inputs()}
        outputs = {given.name: given.shape for given in self._session.get_outputs()}
        self._output = STATES if STATES in outputs else next(iter(outputs))
        if len(outputs[self._output]) != 3:
            raise ServiceError(
                f"passages.encoder: {graph} has no output {STATES} of shape [texts, tokens, numbers]; "
                "export the model without a head"
            )
        self._checkpoint = checkpoint
        self._threads = threads or os.cpu_count() or 1

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
        tokens = self._tokenizer.encode_batch(texts)
        ids = np.array([text.ids for text in tokens], dtype=np.int64)
        mask = np.array([text.attention_mask for text in tokens], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        asked = {name: value for name, value in given.items() if name in self._inputs}
        [states] = self._session.run([self._output], asked)
        options = self._checkpoint.options
        if options.pooling == "cls":
            pooled = states[:, 0]
        else:
            weights = mask[:, :, None].astype(np.float32)
            pooled = (states * weights).sum(axis=1) / weights.sum(axis=1).clip(min=1)
        if options.normalize:
            pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True).clip(min=SHORTEST)
        vectors: NDArray[np.float32] = pooled.astype(np.float32, copy=False)
        return vectors


def _padding(tokenizer: Any) -> dict[str, Any]:
    """The padding token as the tokenizer's file declares it; the length is each batch's own."""
    declared = tokenizer.padding or {}
    return {key: declared[key] for key in ("pad_id", "pad_token", "pad_type_id") if key in declared}
