"""Arguments of vLLM's own engine pass through it; what it does not know or refuses is one line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from models.adapters.backends import engine_identity, model_identity, open_local_backend, with_adapter
from models.adapters.backends.backend import LocalBackend
from models.adapters.backends.vllm import VLLMBackend
from models.adapters.backends.vllm_engine import engine_config
from models.core.errors import AccessError
from tests.engine.test_engine import PROMPTS, answers, ask, assert_as_transformers, student
from tests.support.language_models import lora_adapter

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"max_lorra_rank": 8}, r"model tiny: engine\.max_lorra_rank: vLLM \S+ has no such argument; did you "
                                "mean max_lora_rank"),
        ({"warp_factor": 9}, r"model tiny: engine\.warp_factor: vLLM \S+ has no such argument; look at"),
        ({"kv_cache_dtype": "feather"}, "model tiny: vLLM cannot open .*cache_dtype: Input should be"),
        ({"speculative_config": {"method": "ngram", "num_speculative_tokens": 0}},
         "model tiny: vLLM cannot open .*num_speculative_tokens: Input should be greater than 0$"),
        ({"data_parallel_size": 2, "data_parallel_size_local": 3},
         r"vLLM cannot open .*data_parallel_size_local \(3\) must be <= data_parallel_size \(2\)$"),
    ],
)  # fmt: skip
def test_what_vllm_does_not_take_is_named_in_one_line(
    llama: Path, engine: dict[str, Any], message: str
) -> None:
    with pytest.raises(AccessError, match=message) as error:
        asyncio.run(VLLMBackend(student(llama, **engine)).open())
    assert "\n" not in str(error.value)


def test_adapters_share_an_engine(llama: Path, tmp_path: Path) -> None:
    nothing = lora_adapter(tmp_path / "nothing", spread=0.0)
    much = lora_adapter(tmp_path / "much", spread=0.5)
    neutral, changed, absent = (
        student(llama, lora=str(path), gpu_memory_utilization=0.2)
        for path in (nothing, much, tmp_path / "no")
    )
    assert engine_identity(neutral) == engine_identity(changed)
    assert model_identity(neutral) != model_identity(changed)

    async def use(engine: LocalBackend) -> None:
        first, second = with_adapter(engine, neutral), with_adapter(engine, changed)
        same, other = await asyncio.gather(answers(first), answers(second))
        assert_as_transformers(llama, same)
        assert [answer.text for answer in other] != [answer.text for answer in same]
        with pytest.raises(AccessError, match="vLLM cannot open the adapter") as error:
            await with_adapter(engine, absent).open()
        assert "\n" not in str(error.value)
        assert first.is_open
        assert (await first.complete(ask(PROMPTS[0]))).text == same[0].text

    async def live() -> None:
        engine = open_local_backend(neutral)
        try:
            await use(engine)
        finally:
            await engine.close()

    asyncio.run(live())


def test_arguments_reach_the_engine(llama: Path) -> None:
    guesses = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3}
    model = student(llama, speculative_config=guesses, data_parallel_size=2, max_num_batched_tokens=512)
    config = engine_config(model, "model tiny")
    assert config.speculative_config.num_speculative_tokens == 2
    assert config.parallel_config.data_parallel_size == 2
    assert config.scheduler_config.max_num_batched_tokens == 512
