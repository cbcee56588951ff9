"""Prompt formats hold the same text, each where its model was tuned to find it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from models.core.experiment.endpoints import Model, PromptFormat, Student
from models.core.prompts.rendering import apply_format
from models.core.types import Message
from worker.requests import chat, to_student

TEXT = "Query: sort `xs` by {key}\nAnswer:"
STOP = ["Query:", "Documentation:"]


def student(prompt_format: PromptFormat, **params: Any) -> Student:
    return Student(backend="embedded", prompt_format=prompt_format, params=params)


@pytest.mark.parametrize("prompt_format", get_args(PromptFormat))
def test_every_format_holds_the_text_once_and_as_it_is(prompt_format: PromptFormat) -> None:
    asked = apply_format(prompt_format, TEXT, STOP)
    text = asked.prompt if asked.prompt is not None else "".join(each.content for each in asked.messages)
    assert text.count(TEXT) == 1
    assert (asked.prompt is None) == bool(asked.messages) == (prompt_format == "chat")


def test_raw_is_the_text_and_ends_where_an_example_would_begin() -> None:
    request = to_student(student("raw"), apply_format("raw", TEXT, STOP), (0, 0))
    assert (request.prompt, request.messages, request.params) == (TEXT, (), {"stop": STOP})


def test_chat_leaves_the_template_and_the_end_to_the_model() -> None:
    request = to_student(student("chat", max_tokens=5), apply_format("chat", TEXT, STOP), (0, 0))
    assert (request.prompt, request.messages) == (None, (Message("user", TEXT),))
    assert request.params == {"max_tokens": 5}


def test_chatml_takes_turns_and_ends_with_the_turn() -> None:
    asked = apply_format("chatml", TEXT, STOP)
    turns = (asked.prompt or "").split("<|im_start|>")
    assert [turn.partition("\n")[0] for turn in turns] == ["", "system", "user", "assistant"]
    assert turns[2] == f"user\n{TEXT}<|im_end|>\n"
    assert turns[3] == "assistant\n"
    assert asked.stop == ("<|im_end|>",)


def test_alpaca_is_asked_as_it_was_tuned() -> None:
    asked = apply_format("alpaca", TEXT, STOP)
    assert (asked.prompt or "").endswith(f"request.\n\n### Instruction:\n{TEXT}\n\n### Response:")
    assert asked.stop[0] == "### Instruction:"


@pytest.mark.parametrize(("own", "all_of_them"), [("END", ["END"]), (["END", "Query:"], ["END", "Query:"])])
def test_a_students_own_stop_is_kept(own: object, all_of_them: list[str]) -> None:
    request = to_student(student("raw", stop=own), apply_format("raw", TEXT, STOP), (0, 0))
    assert request.params["stop"] == list(dict.fromkeys([*all_of_them, *STOP]))


TURNS = (
    Message("system", "Be {brief}."),
    Message("user", "one"),
    Message("assistant", "1"),
    Message("user", "two"),
)
CONVERSATIONS = {
    "raw": "Be {brief}.\n\none\n\n1\n\ntwo",
    "chatml": (
        "<|im_start|>system\nBe {brief}.<|im_end|>\n<|im_start|>user\none<|im_end|>\n"
        "<|im_start|>assistant\n1<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"
    ),
    "alpaca": (
        "Be {brief}.\n\n### Instruction:\none\n\n### Response:\n1\n\n### Instruction:\ntwo\n\n### Response:"
    ),
}


@pytest.mark.parametrize("prompt_format", CONVERSATIONS)
def test_a_conversation_is_written_out_for_a_model_without_a_template(prompt_format: PromptFormat) -> None:
    teacher = Model(backend="vllm", model="base", prompt_format=prompt_format)
    request = chat(teacher, TURNS, {"stop": "END"}, (0, 0))
    assert (request.prompt, request.messages) == (CONVERSATIONS[prompt_format], ())
    assert "END" in request.params["stop"]


def test_a_conversation_is_left_to_the_template_of_a_model() -> None:
    request = chat(Model(backend="vllm", model="m"), TURNS, {"stop": "END"}, (0, 0))
    assert (request.prompt, request.messages, request.params) == (None, TURNS, {"stop": "END"})
