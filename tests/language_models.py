"""Tiny language models with random weights and a tokenizer of words, as transformers saves them."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
import transformers

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
WORDS = [*NUMBERS, "count", "from", "to", "word", "sort", "a", "list", ".", ":", *map(str, range(10))]
SPECIAL = ["<unk>", "<s>", "</s>"]
TEMPLATE = "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} {% endfor %}a :"
POSITIONS = 512


def save_tokenizer(folder: Path, *, chat: bool = True, pad: bool = False) -> int:
    """How many tokens it has; with `pad` one more."""
    pieces = [*SPECIAL, *WORDS]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        **({"pad_token": "[PAD]"} if pad else {}),
    )  # fmt: skip
    if chat:
        made.chat_template = TEMPLATE
    made.save_pretrained(folder)
    return len(made)


def tiny_llama(folder: Path, *, chat: bool = True, seed: int = 0, end: int | None = None) -> Path:
    """Two layers of 32 numbers; `end` is a token that ends every answer."""
    size = save_tokenizer(folder, chat=chat)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=POSITIONS, initializer_range=0.5, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return _save(transformers.LlamaForCausalLM(config), folder, end)


def tiny_mpt(folder: Path) -> Path:
    """The architecture of MPT-7B-Chat: ALiBi in place of positions."""
    size = save_tokenizer(folder)
    torch.manual_seed(0)
    config = transformers.MptConfig(
        vocab_size=size, d_model=32, n_heads=2, n_layers=2, max_seq_len=POSITIONS, initializer_range=0.5,
        eos_token_id=2,
    )  # fmt: skip
    return _save(transformers.MptForCausalLM(config), folder, None)


def _save(model: transformers.PreTrainedModel, folder: Path, end: int | None) -> Path:
    model.generation_config.eos_token_id = 2 if end is None else end
    # What a checkpoint recommends; an experiment that says nothing of it gets none of it.
    model.generation_config.repetition_penalty = 5.0
    model.save_pretrained(folder)
    return folder
