"""An encoder as an ONNX graph, with 8-bit weights or as it is."""

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

from models.encoders.checkpoint import Checkpoint
from models.encoders.loading import load_transformer
from models.encoders.onnx import STATES
from models.encoders.options import FILE
from models.errors import ServiceError

GRAPH = "model.onnx"
TEXTS = ["a text", "and another one that is longer"]


def export_onnx(checkpoint: Checkpoint, folder: Path, quantize: bool = True) -> None:
    """Write the encoder into `folder`, which exists, as `OnnxEncoder` reads it.

    Where `quantize`, weights and the inputs of matrix products become 8-bit integers. Inputs are scaled by
    the largest number of each batch (dynamic quantization): no data is needed, and the company of a text
    shows a little in its vector. Raises ServiceError where the encoder is
    an ONNX graph already, and where a package that this takes is missing.
    """
    if checkpoint.kind == "onnx":
        raise ServiceError(f"passages.encoder: {checkpoint.weights[0]} is an ONNX graph already")
    try:
        import onnxscript  # noqa: F401  (torch imports it too late for a message of its own)
        import torch
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise ServiceError(f"{error.name} is not installed; pip install 'starmill[onnx]'") from None
    tokenizer, model = load_transformer(checkpoint)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ServiceError(f"passages.encoder: {checkpoint.path} has no fast tokenizer; save it with one")
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")

    class States(torch.nn.Module):
        """Token ids and attention mask in, states of the last layer out."""

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return states

    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", max=checkpoint.options.max_tokens)}
    whole = folder / ("whole.onnx" if quantize else GRAPH)
    with warnings.catch_warnings(), _only_errors(logging.getLogger("torch.onnx")):
        # About names of axes and about torch's own code: nothing that a user could mend.
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
        # Without VNNI, products of 8 bits are added up in 16: 7-bit weights keep the sums from overflowing.
        with _only_errors(logging.getLogger()):
            quantize_dynamic(
                whole, folder / GRAPH, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
            )
        whole.unlink()
    backend.save(str(folder / "tokenizer.json"))
    shutil.copyfile(checkpoint.path / "config.json", folder / "config.json")
    notes = {"exported_from": checkpoint.fingerprint, "precision": "int8" if quantize else "float32"}
    described = {**asdict(checkpoint.options), **notes}
    (folder / FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _only_errors(log: logging.Logger) -> Iterator[None]:
    """`log` says nothing below ERROR until this ends."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
