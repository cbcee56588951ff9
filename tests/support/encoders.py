"""Tiny encoders with random weights, laid out on disk as the real ones are."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

WORDS = ["the", "a", "of", "list", "string", "number", "sort", "join", "get", "in", "largest", "python"]
LETTERS = string.ascii_lowercase + string.digits + ".,:'()`_-"


def tiny_bert(folder: Path, seed: int = 0) -> Path:
    """Two layers of 32 numbers, as sentence-transformers saves a BERT."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *LETTERS,
        *(f"##{one}" for one in LETTERS),
    ]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = transformers.BertTokenizer(vocab=vocabulary)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def tiny_codet5(folder: Path) -> Path:
    """The layout of `neulab/docprompting-codet5-python-doc-retriever`: a T5 encoder in `pytorch_model.bin`,
    and RoBERTa's tokenizer as `vocab.json` and `merges.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    letters = [*(LETTERS.replace(" ", "")), "Ġ"]
    merges = [("t", "h"), ("th", "e"), ("l", "i"), ("li", "s"), ("lis", "t"), ("Ġ", "list")]
    pieces = [*special, *letters, *(left + right for left, right in merges)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(vocabulary), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        pad_token_id=0,
    )  # fmt: skip
    model = transformers.T5EncoderModel(config)
    model.save_pretrained(folder)
    save_as_bin(folder, load_file(folder / "model.safetensors"))
    return folder


def save_as_bin(folder: Path, state: dict[str, Any]) -> None:
    """`state` in place of whatever weights there are."""
    (folder / "model.safetensors").unlink(missing_ok=True)
    torch.save(state, folder / "pytorch_model.bin")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    file = folder / "model.safetensors"
    if file.is_file():
        return load_file(file)
    state: dict[str, torch.Tensor] = torch.load(folder / "pytorch_model.bin", weights_only=True)
    return state
