"""Models that run in the worker: an answer is the same in any company, and trouble is one line."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.adapters.backends import open_backend, provider
from models.core.errors import AccessError, ContextOverflow, ModelError
from models.core.experiment.endpoints import Student
from models.core.types import Completion, Message, Request
from tests.openai_server.calls import ask_backend
from tests.openai_server.process import REPOSITORY
from tests.support.language_models import NUMBERS, POSITIONS, tiny_llama, tiny_mpt, word_tokenizer

GREEDY = {"temperature": 0, "max_tokens": 12}
PROMPTS = [" ".join(NUMBERS[: 1 + number % 11] * (1 + number)) for number in range(9)]


@pytest.fixture(scope="module", params=["llama", "mpt"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make = {"llama": tiny_llama, "mpt": tiny_mpt}[request.param]
    return make(tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def asked(prompt: str, params: Mapping[str, Any] = GREEDY) -> Request:
    return Request("transformers", "tiny", prompt=prompt, params=params)


def answers(folder: Path, requests: list[Request], **settings: Any) -> list[Completion]:
    student = Student(backend="transformers", model=str(folder), **settings)
    outcomes = ask_backend(lambda: open_backend(student, None), requests)
    for outcome in outcomes:
        if isinstance(outcome, ModelError):
            raise outcome
    return outcomes


def answer(folder: Path, request: Request, **settings: Any) -> Completion:
    (completion,) = answers(folder, [request], **settings)
    return completion


def test_answer_does_not_depend_on_the_batch(model: Path) -> None:
    requests = [asked(prompt) for prompt in PROMPTS]
    together = answers(model, requests)
    alone = [answer(model, request) for request in requests]
    few_at_once = answers(model, requests, engine={"max_num_seqs": 2})
    assert together == alone == few_at_once
    assert len({completion.text for completion in alone}) > 3
    assert [completion.usage.prompt for completion in alone] == [len(prompt.split()) for prompt in PROMPTS]


def test_answers_equal_those_of_transformers(model: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    itself = transformers.AutoModelForCausalLM.from_pretrained(model)
    prompt = tokenizer(PROMPTS[4], return_tensors="pt")
    tokens = itself.generate(**prompt, do_sample=False, max_new_tokens=12, repetition_penalty=1.0)[0]
    expected = tokenizer.decode(tokens[prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert (answer(model, asked(PROMPTS[4])).text or "").strip() == expected


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.7, "top_p": 0.5},
        {"temperature": 0.5, "top_p": 0.5, "top_k": 50},
        {"min_p": 0.1, "repetition_penalty": 1.3},
    ],
)
def test_seeded_draw_does_not_depend_on_the_batch(llama: Path, params: dict[str, float]) -> None:
    requests = [asked(prompt, {**params, "max_tokens": 12, "seed": 7}) for prompt in PROMPTS]
    together = answers(llama, requests)
    assert together == [answer(llama, request) for request in requests]
    another = answers(llama, [asked(prompt, {**params, "max_tokens": 12, "seed": 8}) for prompt in PROMPTS])
    assert together != another


def test_without_a_seed_draws_differ(llama: Path) -> None:
    request = asked(PROMPTS[3], {"temperature": 1.0, "max_tokens": 12})
    assert len({completion.text for completion in answers(llama, [request] * 8)}) > 1


def test_draws_follow_the_probabilities_of_the_model(llama: Path) -> None:
    import transformers

    itself = transformers.AutoModelForCausalLM.from_pretrained(llama)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    with torch.inference_mode():
        scores = itself(**tokenizer("one two three", return_tensors="pt")).logits[0, -1]
    likely = torch.softmax(scores / 2, dim=0)
    token = 3 + int(likely[3:].argmax())  # the first three are not said
    drawn = answers(
        llama,
        [asked("one two three", {"temperature": 2.0, "max_tokens": 1, "seed": seed}) for seed in range(400)],
    )
    share = sum((each.text or "").strip() == tokenizer.decode([token]) for each in drawn) / len(drawn)
    assert share == pytest.approx(float(likely[token]), abs=0.08)


def test_rows_of_a_batch_end_where_they_should(llama: Path) -> None:
    lengths = [1, 5, 12, 3]
    together = answers(llama, [asked(PROMPTS[5], {**GREEDY, "max_tokens": length}) for length in lengths])
    assert [completion.usage.completion for completion in together] == lengths
    assert {completion.finish_reason for completion in together} == {"length"}


def test_a_stop_sequence_of_several_tokens(llama: Path) -> None:
    whole = (answer(llama, asked(PROMPTS[5])).text or "").split()
    stop = " ".join(whole[3:5])
    completion = answer(llama, asked(PROMPTS[5], {**GREEDY, "stop": ["never", stop]}))
    index = next(at for at in range(12) if whole[at : at + 2] == stop.split())
    assert (completion.text or "").split() == whole[:index]
    assert completion.finish_reason == "stop"
    assert completion.usage.completion == index + 2


def test_the_end_of_an_answer_is_told_apart(llama: Path, tmp_path: Path) -> None:
    """Here it is the first token: nothing is said."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    first = (answer(llama, asked(PROMPTS[5])).text or "").split()[0]
    ended = tiny_llama(tmp_path / "ends", end=tokenizer.convert_tokens_to_ids(first))
    completion = answer(ended, asked(PROMPTS[5]))
    assert (completion.text, completion.finish_reason, completion.usage.completion) == ("", "stop", 1)


def test_an_answer_ends_with_the_context(llama: Path) -> None:
    prompt = "one " * (POSITIONS - 5)
    completion = answer(llama, asked(prompt, {"temperature": 0, "max_tokens": 100}))
    assert (completion.finish_reason, completion.usage.completion) == ("length", 5)
    with pytest.raises(ContextOverflow, match="512 tokens leave no room"):
        answer(llama, asked("one " * POSITIONS))
    with pytest.raises(ContextOverflow, match="in a context of 16"):
        answer(llama, asked("one " * 16), max_model_len=16)


def test_tokens_are_counted_as_soon_as_the_model_is_open(llama: Path) -> None:
    async def count() -> tuple[int | None, int | None]:
        backend = open_backend(Student(backend="transformers", model=str(llama)), None)
        before = backend.count_tokens(asked(PROMPTS[3]))
        await backend.complete(asked(PROMPTS[3]))
        after = backend.count_tokens(asked(PROMPTS[3]))
        await backend.close()
        return before, after

    assert asyncio.run(count()) == (None, len(PROMPTS[3].split()))


def test_close_cancels_calls_in_flight(llama: Path) -> None:
    async def close() -> None:
        backend = open_backend(Student(backend="transformers", model=str(llama)), None)
        await backend.complete(asked("one"))
        call = asyncio.create_task(backend.complete(asked("one", {"temperature": 0, "max_tokens": 500})))
        await asyncio.sleep(0.1)
        await backend.close()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(close())


def test_a_chat_needs_a_template(llama: Path, tmp_path: Path) -> None:
    chat = Request("transformers", "tiny", (Message("user", "count to ten"),), params=GREEDY)
    assert answer(llama, chat).usage.prompt == 7
    with pytest.raises(AccessError, match="has no chat template; set prompt_format"):
        answer(tiny_llama(tmp_path / "raw", word_tokenizer(chat=False)), chat)


def _without(folder: Path, llama: Path, name: str) -> Path:
    shutil.copytree(llama, folder)
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_unusable_model_is_refused_in_one_line(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    lacking = _without(tmp_path / "lacking", llama, "model.layers.1.mlp.up_proj.weight")
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (tmp_path / "absent", {}, "there is no folder"),
        (tmp_path / "empty", {}, "cannot be loaded"),
        (lacking, {}, "lacks 1 weights of its model, such as model.layers.1.mlp.up_proj"),
        (llama, {"engine": {"tokenizer": str(tmp_path / "absent")}}, "there is no folder"),
        (llama, {"max_model_len": 1024}, "max_model_len 1024 is more than the 512 tokens"),
        (llama, {"quantization": "awq"}, "need backend vllm"),
    ]
    for folder, settings, says in cases:
        with pytest.raises(AccessError, match=says) as caught:
            answer(folder, asked("one"), **settings)
        assert "model student: " in str(caught.value)
        assert "\n" not in str(caught.value)


def test_unknown_parameter_stops_the_run(llama: Path) -> None:
    with pytest.raises(AccessError, match="params: guided_json cannot be used"):
        answer(llama, asked("one", {**GREEDY, "guided_json": {}}))


def test_a_model_that_is_mended_is_opened(llama: Path, tmp_path: Path) -> None:
    async def mend() -> None:
        backend = open_backend(Student(backend="transformers", model=str(tmp_path / "late")), None)
        with pytest.raises(AccessError):
            await backend.complete(asked("one"))
        shutil.copytree(llama, tmp_path / "late")
        assert (await backend.complete(asked("one"))).text
        await backend.close()

    asyncio.run(mend())


def test_identity_holds_all_that_changes_answers() -> None:
    plain = Student(backend="transformers", model="m")
    assert provider(plain) == "transformers"
    half = Student.model_validate({"backend": "transformers", "model": "m", "engine": {"dtype": "float16"}})
    assert provider(half) == "transformers/float16"


def test_encoder_and_student_may_be_opened_at_once() -> None:
    """Threads of one worker import transformers at the same time."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from models.adapters.encoders.transformers_encoder import quiet_transformers\n"
        "for package in ThreadPoolExecutor(2).map(quiet_transformers, 'ab'): package.AutoTokenizer"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
