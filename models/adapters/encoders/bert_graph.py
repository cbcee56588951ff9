"""Write a BERT as an ONNX graph straight from its weights: neither torch nor transformers is needed.

The graph consists of the operators that ONNX Runtime has for transformers. In 8 bits, each block of weights
of an output has a scale, and so has each block of inputs, token by token: MiniLM's vectors have a cosine of
0.999 with those in 32 bits, where one scale for all inputs of a product gives 0.994.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.checkpoint import Checkpoint, read_json
from models.core.errors import ServiceError

STATES = "last_hidden_state"
LARGEST = 127
ZERO = 128
BLOCK = 128
# Inputs are rounded to 8 bits as well: the products are then of whole numbers.
EIGHT_BITS = {"bits": 8, "block_size": BLOCK, "accuracy_level": 4}
MICROSOFT = "com.microsoft"
Floats = NDArray[np.float32]


def is_bert(checkpoint: Checkpoint) -> bool:
    """Return whether `bert_graph` can write this encoder."""
    config = read_json(checkpoint.path / "config.json")
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and [file.suffix for file in checkpoint.weights] == [".safetensors"]
    )


def bert_graph(checkpoint: Checkpoint, eight_bits: bool) -> bytes:
    """Return the graph with inputs `input_ids` and `attention_mask`, and output `last_hidden_state`.

    Raise ServiceError if the checkpoint lacks a weight or the package `onnx` is missing.
    """
    config = read_json(checkpoint.path / "config.json")
    weights = _Weights(checkpoint.weights[0])
    graph = _Graph(eight_bits, float(config["layer_norm_eps"]))
    states = _embed(graph, weights, checkpoint.options.max_tokens)
    mask = graph.node("Cast", ["attention_mask"], to=graph.INT32)
    for layer in range(config["num_hidden_layers"]):
        states = _layer(
            graph, weights, f"encoder.layer.{layer}.", states, mask, config["num_attention_heads"]
        )
    return graph.finish(states, checkpoint.dimension)


class _Weights:
    """The arrays of a safetensors file, mapped."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._bytes = np.memmap(file, dtype=np.uint8, mode="r")
            size = int.from_bytes(self._bytes[:8].tobytes(), "little")
            self._entries = json.loads(self._bytes[8 : 8 + size].tobytes())
            self._start = 8 + size
        except (OSError, ValueError) as error:
            raise ServiceError(f"passages.encoder: {file} cannot be read: {error}") from None

    def __getitem__(self, name: str) -> Floats:
        entry = self._entries.get(name) or self._entries.get(f"bert.{name}")
        if entry is None or entry["dtype"] != "F32":
            raise ServiceError(f"passages.encoder: {self._file} lacks {name} in 32 bits; save it so again")
        start, end = (self._start + offset for offset in entry["data_offsets"])
        return np.asarray(self._bytes[start:end].view("<f4").reshape(entry["shape"]))


class _Graph:
    """Nodes and constants in the order in which they are added; their names are numbers."""

    def __init__(self, eight_bits: bool, epsilon: float) -> None:
        try:
            import onnx
        except ImportError as error:
            raise ServiceError(
                f"passages.encoder: {error.name} is not installed; pip install 'starmill[retrieve]'"
            ) from None
        self._onnx: Any = onnx
        self.INT32, self.FLOAT = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT
        self.eight_bits = eight_bits
        self._epsilon = epsilon
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, array: NDArray[Any]) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, inputs: list[str], domain: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return its name."""
        return self.nodes(operator, inputs, 1, domain, **attributes)[0]

    def nodes(
        self, operator: str, inputs: list[str], outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        names = [f"node{len(self._nodes)}.{number}" for number in range(outputs)]
        made = self._onnx.helper.make_node(operator, inputs, names, domain=domain, **attributes)
        self._nodes.append(made)
        return names

    def product(self, states: str, weight: Floats) -> str:
        """Multiply with the weight [outputs, inputs] of a linear layer, without its bias."""
        if not self.eight_bits:
            return self.node("MatMul", [states, self.constant(weight.T)])
        outputs, inputs = weight.shape
        blocks = np.pad(weight, ((0, 0), (0, -inputs % BLOCK))).reshape(-1, BLOCK)
        whole, scale = _whole_numbers(blocks)
        codes = (whole.astype(np.int16) + ZERO).astype(np.uint8).reshape(outputs, -1, BLOCK)
        constants = [self.constant(codes), self.constant(scale.ravel())]
        return self.node("MatMulNBits", [states, *constants], MICROSOFT, K=inputs, N=outputs, **EIGHT_BITS)

    def add_and_normalize(self, states: str, bias: Floats, skipped: str, norm: tuple[Floats, Floats]) -> str:
        constants = [*map(self.constant, norm), self.constant(bias)]
        inputs = [states, skipped, *constants]
        return self.node("SkipLayerNormalization", inputs, MICROSOFT, epsilon=self._epsilon)

    def normalize(self, states: str, norm: tuple[Floats, Floats]) -> str:
        inputs = [states, *map(self.constant, norm)]
        return self.node("LayerNormalization", inputs, axis=-1, epsilon=self._epsilon)

    def finish(self, states: str, width: int) -> bytes:
        helper, types = self._onnx.helper, self._onnx.TensorProto
        self._nodes.append(helper.make_node("Identity", [states], [STATES]))
        inputs = [
            helper.make_tensor_value_info(name, types.INT64, ["texts", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info(STATES, types.FLOAT, ["texts", "tokens", width])
        graph = helper.make_graph(self._nodes, "bert", inputs, [output], self._constants)
        operators = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=operators, ir_version=9, producer_name="starmill")
        return bytes(model.SerializeToString())


def _whole_numbers(rows: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return rows as whole numbers from -127 to 127, and the scale of each row, [rows, 1]."""
    scale = (np.abs(rows).max(axis=1, keepdims=True) / LARGEST).astype(np.float32)
    scale[scale == 0] = 1
    return np.rint(rows / scale).astype(np.int8), scale


def _embed(graph: _Graph, weights: _Weights, max_tokens: int) -> str:
    """Add the vectors of words and of places. All tokens are of type 0."""
    words = weights["embeddings.word_embeddings.weight"]
    if graph.eight_bits:
        whole, scale = _whole_numbers(words)
        rows = graph.node("Gather", [graph.constant(whole), "input_ids"])
        scales = graph.node("Gather", [graph.constant(scale), "input_ids"])
        states = graph.node("Mul", [graph.node("Cast", [rows], to=graph.FLOAT), scales])
    else:
        states = graph.node("Gather", [graph.constant(words), "input_ids"])
    types = weights["embeddings.token_type_embeddings.weight"][0]
    places = graph.constant(weights["embeddings.position_embeddings.weight"][:max_tokens] + types)
    count = graph.node("Shape", ["input_ids"], start=1, end=2)
    used = graph.node("Slice", [places, graph.constant(np.array([0])), count])
    return graph.normalize(graph.node("Add", [states, used]), _norm(weights, "embeddings.LayerNorm"))


def _layer(graph: _Graph, weights: _Weights, name: str, states: str, mask: str, heads: int) -> str:
    own = f"{name}attention.self."
    parts = ("query", "key", "value")
    weight = np.concatenate([weights[f"{own}{part}.weight"] for part in parts])
    bias = graph.constant(np.concatenate([weights[f"{own}{part}.bias"] for part in parts]))
    split = graph.nodes("Split", [graph.product(states, weight)], 3, axis=-1, num_outputs=3)
    attended = graph.node("MultiHeadAttention", [*split, bias, mask], MICROSOFT, num_heads=heads)
    states = _output(graph, weights, f"{name}attention.output.", attended, states)
    wide = graph.product(states, weights[f"{name}intermediate.dense.weight"])
    biased = [wide, graph.constant(weights[f"{name}intermediate.dense.bias"])]
    return _output(graph, weights, f"{name}output.", graph.node("BiasGelu", biased, MICROSOFT), states)


def _output(graph: _Graph, weights: _Weights, name: str, states: str, skipped: str) -> str:
    product = graph.product(states, weights[f"{name}dense.weight"])
    norm = _norm(weights, f"{name}LayerNorm")
    return graph.add_and_normalize(product, weights[f"{name}dense.bias"], skipped, norm)


def _norm(weights: _Weights, name: str) -> tuple[Floats, Floats]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]
