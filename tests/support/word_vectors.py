"""The quickest of real encoders: the mean of the vectors of words, as MiniLM's first layer has them."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.bert_graph import STATES
from models.adapters.encoders.checkpoint import find_checkpoint

WIDTH = 64
TABLE = "embeddings.word_embeddings.weight"


def write_word_vectors(folder: Path) -> Path:
    """An ONNX encoder in `folder`, which runs that are not about retrieval use: it starts without torch."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(_graph())
    shutil.copy(find_checkpoint("minilm").path / "tokenizer.json", folder)
    (folder / "config.json").write_text(json.dumps({"hidden_size": WIDTH}))
    return folder


@functools.cache
def _graph() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])
    states = helper.make_tensor_value_info(STATES, TensorProto.FLOAT, ["texts", "tokens", WIDTH])
    look_up = helper.make_node("Gather", ["table", "input_ids"], [STATES])
    graph = helper.make_graph(
        [look_up], "word-vectors", [ids], [states], [numpy_helper.from_array(_table(), "table")]
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, ir_version=10, opset_imports=[opset]).SerializeToString())


def _table() -> NDArray[np.float32]:
    from safetensors.numpy import load_file

    table = load_file(find_checkpoint("minilm").weights[0])[TABLE][:, :WIDTH]
    return np.ascontiguousarray(table, dtype=np.float32)
