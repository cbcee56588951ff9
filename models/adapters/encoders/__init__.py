"""Encoders turn sentences into vectors; `open_encoder` is the one way to get one."""

from __future__ import annotations

from models.adapters.encoders.checkpoint import Checkpoint, find_checkpoint
from models.adapters.encoders.encoder import Encoder, passage_text
from models.core.errors import ServiceError

__all__ = ["Checkpoint", "Encoder", "find_checkpoint", "open_encoder", "passage_text"]


def open_encoder(name: str, threads: int | None = None) -> Encoder:
    """Load `minilm`, which ships as a package, or the sentence encoder in the folder or ONNX file `name`.

    `threads` is the number of batches that are encoded at once. Raises ServiceError if the model, or the
    package that runs it, is missing.
    """
    checkpoint = find_checkpoint(name)
    if checkpoint.kind == "packaged":
        return _open_packaged(checkpoint, threads)
    if checkpoint.kind == "onnx":
        from models.adapters.encoders.onnx_encoder import OnnxEncoder

        return OnnxEncoder(checkpoint, checkpoint.weights[0], threads)
    from models.adapters.encoders.transformers_encoder import TransformersEncoder

    return TransformersEncoder(checkpoint, threads)


def _open_packaged(checkpoint: Checkpoint, threads: int | None) -> Encoder:
    from models.adapters.encoders.graph_cache import cached_graph
    from models.adapters.encoders.onnx_encoder import OnnxEncoder

    try:
        return OnnxEncoder(checkpoint, cached_graph(checkpoint), threads)
    except ServiceError:
        return OnnxEncoder(checkpoint, cached_graph(checkpoint, renew=True), threads)
