"""Sentence encoders as ONNX graphs: run them without torch, which starts fast, and export them."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.bert_graph import STATES, bert_graph, is_bert
from models.adapters.encoders.checkpoint import FILE, Checkpoint
from models.adapters.encoders.encode_batches import BatchEncoder
from models.adapters.loading import describe_error, load_transformer
from models.core.errors import ServiceError

MIN_LENGTH = 1e-12


class OnnxEncoder(BatchEncoder):
    """An encoder that runs `graph`, a file or its content, on one thread for each batch.

    Texts run one by one, without padding: this is faster on processors, and no text changes the vector of
    another where a graph scales all its inputs by their largest number.
    """

    def __init__(self, checkpoint: Checkpoint, graph: Path | bytes, threads: int | None = None) -> None:
        super().__init__(checkpoint, threads)
        try:
            import onnxruntime
            import tokenizers
        except ImportError as error:
            raise ServiceError(
                f"passages.encoder: {error.name} is not installed; pip install 'starmill[retrieve]'"
            ) from None
        settings: Any = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        name = checkpoint.path if isinstance(graph, bytes) else graph
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(checkpoint.path / "tokenizer.json"))
            self._session: Any = onnxruntime.InferenceSession(
                graph, settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # Both libraries raise classes of their own for unreadable files.
            raise ServiceError(
                f"passages.encoder: {name} cannot be loaded ({describe_error(error)}); export it again"
            ) from error
        self._tokenizer.enable_truncation(checkpoint.options.max_tokens)
        self._tokenizer.no_padding()
        self._inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name: node.shape for node in self._session.get_outputs()}
        self._output = STATES if STATES in outputs else next(iter(outputs))
        if len(outputs[self._output]) != 3:
            raise ServiceError(
                f"passages.encoder: {name} has no output {STATES} of shape [texts, tokens, numbers]; "
                "export the model without a head"
            )

    def _encode_batch(self, texts: list[str]) -> NDArray[np.float32]:
        options = self._checkpoint.options
        states = [self._states(text) for text in texts]
        vectors = np.stack([one[0] if options.pooling == "cls" else one.mean(axis=0) for one in states])
        if options.normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=MIN_LENGTH)
        return vectors.astype(np.float32, copy=False)

    def _states(self, text: str) -> NDArray[np.float32]:
        """Return the states of the last layer, [tokens, numbers]."""
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        inputs = {name: value for name, value in arrays.items() if name in self._inputs}
        states: NDArray[np.float32] = self._session.run([self._output], inputs)[0][0]
        return states


GRAPH = "model.onnx"
SAMPLE_TEXTS = ["a text", "and another one that is longer"]


def export_onnx(checkpoint: Checkpoint, folder: Path, quantize: bool = True) -> None:
    """Write the encoder into the existing `folder`, in the layout that `OnnxEncoder` reads.

    With `quantize`, weights and the inputs of matrix products become 8-bit integers. Inputs are scaled when
    they are known (dynamic quantization), which needs no data. Encoders other than BERT need torch. Raises
    ServiceError if the encoder is already an ONNX graph or a package is missing.
    """
    if checkpoint.kind == "onnx":
        raise ServiceError(f"passages.encoder: {checkpoint.weights[0]} is an ONNX graph already")
    tokens = checkpoint.path / "tokenizer.json"
    if is_bert(checkpoint) and tokens.is_file():
        (folder / GRAPH).write_bytes(bert_graph(checkpoint, quantize))
        shutil.copyfile(tokens, folder / "tokenizer.json")
    else:
        _export_by_torch(checkpoint, folder, quantize)
    shutil.copyfile(checkpoint.path / "config.json", folder / "config.json")
    notes = {"exported_from": checkpoint.fingerprint, "precision": "int8" if quantize else "float32"}
    described = {**asdict(checkpoint.options), **notes}
    (folder / FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def _export_by_torch(checkpoint: Checkpoint, folder: Path, quantize: bool) -> None:
    """Write the graph and the tokenizer."""
    try:
        import onnxscript  # noqa: F401  (torch would import it too late for this message)
        import torch
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise ServiceError(f"{error.name} is not installed; pip install 'starmill[onnx]'") from None
    tokenizer, model = load_transformer(checkpoint)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ServiceError(f"passages.encoder: {checkpoint.path} has no fast tokenizer; save it with one")
    tokens = tokenizer(SAMPLE_TEXTS, padding=True, return_tensors="pt")

    class States(torch.nn.Module):
        """The model with only the states of its last layer as output."""

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return states

    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", max=checkpoint.options.max_tokens)}
    whole = folder / ("whole.onnx" if quantize else GRAPH)
    with warnings.catch_warnings(), _only_errors(logging.getLogger("torch.onnx")):
        # The warnings are about names of axes and torch's own code: no user can mend them.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            States().eval(),
            (tokens["input_ids"], tokens["attention_mask"]),
            str(whole),
            input_names=["input_ids", "attention_mask"],
            output_names=[STATES],
            dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if quantize:
        # Without VNNI, 8-bit products are summed in 16 bits: 7-bit weights keep the sums from overflowing.
        with _only_errors(logging.getLogger()):
            quantize_dynamic(
                whole, folder / GRAPH, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
            )
        whole.unlink()
    backend.save(str(folder / "tokenizer.json"))


@contextmanager
def _only_errors(log: logging.Logger) -> Iterator[None]:
    """Silence `log` below ERROR until this ends."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
