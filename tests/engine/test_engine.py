"""The engine in this process: what it answers, and how it fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.adapters.backends.backend import LocalBackend
from models.adapters.backends.vllm import VLLMBackend
from models.core.errors import AccessError, BadRequest, ContextOverflow, Unavailable
from models.core.experiment.endpoints import Student
from models.core.types import Completion, Message, Request

CONTEXT = 256
NEW_TOKENS = 12
MARGIN = 0.02
PROMPTS = [f"Query: count the items of list number {number}\nAnswer:" for number in range(20)]

pytestmark = pytest.mark.timeout(900)


def student(model: Path | str, **engine: Any) -> Student:
    shape = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 16, "gpu_memory_utilization": 0.05}
    return Student.model_validate({
        "name": "tiny", "backend": "vllm", "model": str(model), "max_model_len": CONTEXT,
        "engine": {**shape, **engine},
    })  # fmt: skip


def ask(prompt: str, **params: Any) -> Request:
    return Request(
        "vllm", "tiny", prompt=prompt, params={"temperature": 0, "max_tokens": NEW_TOKENS, **params}
    )


def with_engine(chosen: Student, use: Callable[[VLLMBackend], Coroutine[Any, Any, None]]) -> None:
    async def live() -> None:
        backend = VLLMBackend(chosen)
        try:
            await backend.open()
            await use(backend)
        finally:
            await backend.close()

    asyncio.run(live())


async def answers(backend: LocalBackend) -> list[Completion]:
    return await asyncio.gather(*(backend.complete(ask(prompt)) for prompt in PROMPTS))


def assert_as_transformers(model: Path, completions: list[Completion]) -> None:
    """The same greedy answers, but where two tokens were so near that rounding decides."""
    expected = by_transformers(model)
    clear = [index for index, (_, margin) in enumerate(expected) if margin > MARGIN]
    assert len(clear) >= len(PROMPTS) / 2
    assert [completions[index].text for index in clear] == [expected[index][0] for index in clear]


def by_transformers(model: Path) -> list[tuple[str, float]]:
    """Greedy answers, one prompt at a time, and by how much the nearest choice between two tokens was won."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(model)
    texts = []
    for prompt in PROMPTS:
        asked = words(prompt, return_tensors="pt")
        generated = network.generate(**asked, max_new_tokens=NEW_TOKENS, do_sample=False, output_scores=True,
                                 return_dict_in_generate=True)  # fmt: skip
        tokens = generated.sequences[0][asked["input_ids"].shape[1] :]
        best = [scores[0].topk(2).values for scores in generated.scores]
        margin = min(float(first - second) for first, second in best)
        texts.append((words.decode(tokens, skip_special_tokens=True), margin))
    return texts


def engine_core() -> int:
    """Pid of the process in which the engine runs."""
    children = psutil.Process().children(recursive=True)
    [pid] = [each.pid for each in children if "EngineCore" in " ".join([each.name(), *each.cmdline()])]
    return pid


def test_mpt_answers_as_transformers_does(mpt: Path) -> None:
    async def use(backend: VLLMBackend) -> None:
        assert_as_transformers(mpt, await answers(backend))

    with_engine(student(mpt), use)


def test_llama_answers_refuses_dies_and_comes_back(llama: Path) -> None:
    """One engine for all of it: it takes a while to open."""

    async def use(backend: VLLMBackend) -> None:
        first = await answers(backend)
        assert_as_transformers(llama, first)
        assert len({answer.text for answer in first}) > 1
        assert {answer.usage.completion for answer in first} == {NEW_TOKENS}
        load = backend.load.read()
        assert 0 < load.occupancy <= 1
        assert (load.running, load.waiting, load.usage.completion) == (0, 0, NEW_TOKENS * len(PROMPTS))
        await refuse(backend)
        await stop_and_empty(backend, first[0].text or "")
        await die(backend)
        again = await answers(backend)
        assert [answer.text for answer in again] == [answer.text for answer in first]

    async def refuse(backend: VLLMBackend) -> None:
        with pytest.raises(ContextOverflow, match=f"do not fit into {CONTEXT}"):
            await backend.complete(ask("word " * CONTEXT))
        with pytest.raises(BadRequest, match="the prompt is empty"):
            await backend.complete(ask(""))
        for wrong in ({"temperature": -1.0}, {"beams": 3}):
            with pytest.raises(AccessError, match=f"model tiny: params: .*{next(iter(wrong))}"):
                await backend.complete(ask("x", **wrong))
        with pytest.raises(AccessError, match="no chat template; set prompt_format"):
            await backend.complete(Request("vllm", "tiny", (Message("user", "hello"),)))

    async def stop_and_empty(backend: VLLMBackend, whole: str) -> None:
        start = whole[:3]
        stopped = await backend.complete(ask(PROMPTS[0], stop=[start]))
        assert (stopped.text, stopped.finish_reason) == ("", "stop")

    async def die(backend: VLLMBackend) -> None:
        calls = [asyncio.create_task(backend.complete(ask(prompt, max_tokens=200))) for prompt in PROMPTS]
        await asyncio.sleep(0.3)
        os.kill(engine_core(), signal.SIGKILL)
        ended = await asyncio.gather(*calls, return_exceptions=True)
        lost = [each for each in ended if isinstance(each, BaseException)]
        assert lost
        assert {type(error) for error in lost} == {Unavailable}
        assert {str(error) for error in lost} == {"model tiny: vLLM's engine died"}

    with_engine(student(llama), use)


def test_missing_model_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="model tiny: vLLM cannot open") as error:
        asyncio.run(VLLMBackend(student(tmp_path / "nowhere")).open())
    assert "\n" not in str(error.value)
