"""Models without weights, which vLLM fills with random numbers (`load_format: dummy`), and their prompts.

A tokenizer is learned from this repository's code, so that nothing is fetched.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.core.types import Example
from storage.schema import TEST, TRAIN
from tests.engine.grid import REPOSITORY, TRAIN_ROWS, examples
from tests.support.language_models import TEMPLATE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHAPES = ("llama-7b", "mpt-7b")
VOCABULARY = {"llama-7b": 32_000, "mpt-7b": 50_432}
SPECIAL = ["<unk>", "<s>", "</s>"]


@dataclass(frozen=True)
class Case:
    """Prompts of one kind. Each request, asked or shown, brings `documentation` tokens. Each row is asked
    once for each of the `seeds`, with other exemplars."""

    name: str
    rows: int
    shots: int
    seeds: int
    documentation: int
    max_tokens: int

    @property
    def units(self) -> int:
        return self.rows * self.seeds

    def sections(self) -> dict[str, Any]:
        return {"grid": {
            "shots": [self.shots], "retrieval": [False], "rationale": ["none"], "exemplars": "fixed",
            "seeds": list(range(self.seeds)),
        }}  # fmt: skip

    def splits(self, model: Path, word: str) -> dict[str, list[Example]]:
        """Rows of which no two are equal; `word` tells those of different runs apart."""
        texts = _documentation(model, self.documentation)
        return {
            TRAIN: _documented(examples(TRAIN_ROWS, "taught"), texts),
            TEST: _documented(examples(self.rows, word), texts),
        }


@dataclass(frozen=True)
class Scale:
    """Differences between a GPU and the trial on processors (`--tiny`).

    `opening` is a first guess of the seconds that an engine takes to open, `case` of those of a case.
    """

    engine: dict[str, Any]
    max_model_len: int
    threads: int
    cases: tuple[Case, ...]
    samples: int
    opening: float
    case: float

    @property
    def grid(self) -> Case:
        return self.cases[0]


ON_GPU = Scale(
    {"load_format": "dummy", "dtype": "bfloat16", "enforce_eager": False, "max_num_seqs": 256,
     "gpu_memory_utilization": 0.85},
    2048, 72,
    (Case("grid", 512, 2, 2, 304, 64), Case("one-shot", 512, 0, 1, 42, 512)), 8, 50, 20,
)  # fmt: skip
TINY = Scale(
    {"load_format": "dummy", "dtype": "float32", "enforce_eager": True, "max_num_seqs": 16,
     "gpu_memory_utilization": 0.1},
    512, 6,
    (Case("grid", 16, 2, 2, 60, 8), Case("one-shot", 16, 0, 1, 10, 32)), 8, 30, 5,
)  # fmt: skip


def without_weights(shape: str, folder: Path, *, tiny: bool) -> Path:
    """Write the configuration and tokenizer of LLaMA-7B (Alpaca's), MPT-7B, or a tiny model like it."""
    from transformers import LlamaConfig, MptConfig

    size = 2_048 if tiny else VOCABULARY[shape]
    words = _tokenizer(size)
    known = {"vocab_size": size, "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    if shape == "llama-7b":
        # The defaults of LlamaConfig are those of LLaMA-7B.
        small = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2,
                 "num_attention_heads": 2, "num_key_value_heads": 2}  # fmt: skip
        config = LlamaConfig(**known, max_position_embeddings=2048, **(small if tiny else {}))
        config.architectures = ["LlamaForCausalLM"]
    else:
        small = {"d_model": 128, "n_heads": 2, "n_layers": 2}
        large = {"d_model": 4096, "n_heads": 32, "n_layers": 32}
        config = MptConfig(**known, max_seq_len=2048, **(small if tiny else large))
        config.architectures = ["MptForCausalLM"]
    config.dtype = "float32" if tiny else "bfloat16"
    config.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _pages() -> list[Path]:
    return sorted(path for path in REPOSITORY.glob("[a-z]*/**/*.py") if not path.is_symlink())


def _tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Byte pairs of this repository's code; fillers make the vocabulary as large as the model's."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    learned = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    learned.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    learned.train([str(path) for path in _pages()], trainer)
    whole = json.loads(learned.to_str())
    vocabulary = whole["model"]["vocab"]
    vocabulary.update({f"filler{number}": number for number in range(len(vocabulary), size)})
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(whole)), unk_token="<unk>", bos_token="<s>",
        eos_token="</s>",
    )  # fmt: skip
    made.chat_template = TEMPLATE
    return made


def _documentation(model: Path, tokens: int) -> list[str]:
    """Return stretches of this repository's pages of so many tokens each."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    text = "\n".join(page.read_text("utf-8") for page in sorted(REPOSITORY.glob("[a-z]*/README.md")))
    ids = words.encode(text, add_special_tokens=False)
    return [words.decode(ids[start : start + tokens]) for start in range(0, len(ids) - tokens, tokens)]


def _documented(rows: list[Example], texts: list[str]) -> list[Example]:
    return [
        Example(row.row, row.question_id, f"{row.request}\n{text}", row.reference)
        for row, text in zip(rows, itertools.cycle(texts), strict=False)
    ]
