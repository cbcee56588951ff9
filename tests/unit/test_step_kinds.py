"""The kinds of steps: what each asks, what it accepts, how often it asks again, and what it adds to a row."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.core.kinds.generate import MANY
from models.core.kinds.step import Call, Row, StepResult
from models.core.types import Completion, Message
from tests.support.step_services import WrittenServices, completion, execute, row, step

REFUSED = "I'm sorry, but I can't help with that."
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def run(settings: dict[str, Any], services: WrittenServices, *rows: Row) -> list[StepResult]:
    return asyncio.run(execute(step(**settings), services, *rows))


def answered(settings: dict[str, Any], *answers: str | Completion, **columns: Any) -> StepResult:
    """The end of one row, all of whose written answers must have been asked for."""
    services = WrittenServices(answers)
    [result] = run({"prompt": "Say {{ q }}", **settings}, services, row({"q": "this", **columns}))
    assert len(services.asked) == len(answers)
    return result


def value_of(settings: dict[str, Any], *answers: str | Completion) -> Any:
    result = answered(settings, *answers)
    assert result.failure is None
    return result.stored() if result.fields else result.value


def failure_of(settings: dict[str, Any], *answers: str | Completion) -> str:
    result = answered(settings, *answers)
    assert result.failure
    return result.failure[0]


def conversation(settings: dict[str, Any], asked: Row) -> list[tuple[str, str]]:
    services = WrittenServices(["done"])
    run(settings, services, asked)
    return [(message.role, message.content) for message in services.asked[0].messages]


# What a step is told and asks.


def test_a_prompt_has_system_examples_and_columns() -> None:
    settings = {
        "prompt": "{{ q }} of {{ row['my level'] }}",
        "system": "Be {{ tone }}.",
        "examples": [{"q": "1+1", "my level": 1, "x": "2"}, {"q": "2+2", "my level": 2, "x": {"n": 4}}],
    }
    assert conversation(settings, row({"q": "3+3", "my level": 3, "tone": "brief"})) == [
        ("system", "Be brief."),
        ("user", "1+1 of 1"), ("assistant", "2"),
        ("user", "2+2 of 2"), ("assistant", '{"n": 4}'),
        ("user", "3+3 of 3"),
    ]  # fmt: skip


def test_shots_are_drawn_by_the_content_of_a_row() -> None:
    settings = {"prompt": "{{ q }}", "shots": 2, "examples": [{"q": str(n), "x": "a"} for n in range(6)]}

    def drawn(identity: str) -> tuple[str, ...]:
        words = [
            text for role, text in conversation(settings, row(q="q", identity=identity)) if role == "user"
        ]
        assert len(words) == 3
        return tuple(words[:2])

    draws = {drawn(f"row {number}") for number in range(20)}
    assert len(draws) > 5
    assert all(first < second for first, second in draws)
    assert drawn("row 1") == drawn("row 1")


def test_a_call_has_the_settings_of_its_step() -> None:
    services = WrittenServices(['{"n": 1}'])
    settings = {"prompt": "{{ q }}", "model": "critic", "output": "json", "schema": SCHEMA,
                "params": {"max_tokens": 9, "seed": 3}}  # fmt: skip
    run(settings, services, row(q="x"))
    [call] = services.asked
    assert (call.model, call.schema, call.params) == ("critic", SCHEMA, {"max_tokens": 9, "seed": 3})
    assert step(prompt="x").asks == "teacher"
    assert step(prompt="x", score=[1, 5]).asks == "judge"
    assert step(of="a", rule="text").asks == step(of="a").asks == step(query="x").asks == ""


@pytest.mark.parametrize(
    ("settings", "detail"),
    [
        ({"prompt": "{{ gone }}"}, "prompt: the row has no column gone"),
        ({"prompt": "{{ q }}", "system": "{{ q.x }}"}, "system: a text has no x"),
        ({"prompt": "{{ q }}{{ gone.x }}", "score": [1, 5]}, "prompt: the row has no column gone"),
        ({"query": "{{ gone }}"}, "query: the row has no column gone"),
    ],
)
def test_a_row_without_a_column_fails_and_asks_nothing(settings: dict[str, Any], detail: str) -> None:
    services = WrittenServices()
    [result] = run(settings, services, row(q="x"))
    assert result.failure == ("prompt", detail)
    assert services.asked == []


# What is accepted, and how often it is asked again.


@pytest.mark.parametrize(
    ("settings", "answers", "value"),
    [
        ({}, ["  a text \n"], "a text"),
        ({}, [completion(None), "", "<!DOCTYPE html>x", "text"], "text"),
        ({}, [REFUSED, completion(None, refusal="no"), "text"], "text"),
        ({}, [completion("cut o", "length"), "whole"], "whole"),
        ({"check": {"refusal": False}}, [REFUSED], REFUSED),
        ({"check": {"truncated": False}}, [completion("cut o", "length")], "cut o"),
        ({"check": {"parroted": 1}}, ["Say this", "that"], "that"),
        ({"check": {"words": {"least": 2, "most": 3}}}, ["one", "one two three four", "one two"], "one two"),
        ({"check": {"pattern": {"text": r"\d$"}}}, ["no", "7"], "7"),
        ({"check": {"pattern": {"text": "bad", "absent": True}}}, ["a bad one", "good"], "good"),
        ({"output": "json"}, ["none", '```json\n{"n": 1}\n```'], {"n": 1}),
        ({"output": "json", "schema": SCHEMA}, ['{"n": "1"}', "[]", '{"n": 1}'], {"n": 1}),
        ({"output": "json"}, ['{"value": 1, "items": 2, "text": 3}'], {"value": 1, "items": 2, "text": 3}),
        ({"output": "json", "check": {"truncated": False}}, [completion('{"n": 1}', "length")], {"n": 1}),
        ({"output": "answer"}, ["I do not know", "So. The answer is 42."],
         {"value": "42", "text": "So. The answer is 42."}),
        ({"output": "answer"}, ["The answer is", "The answer is `x`"],
         {"value": "x", "text": "The answer is `x`"}),
        ({"output": "answer", "check": {"refusal": False}}, [REFUSED + " The answer is 4"],
         {"value": "4", "text": REFUSED + " The answer is 4"}),
        ({"output": "code"}, ["Sure:\n```python\ndef f():\n    ...\n```\nDone."],
         {"value": "def f():\n    ...", "text": "Sure:\n```python\ndef f():\n    ...\n```\nDone."}),
        ({"output": "code"}, ["def f():\n    return 1"],
         {"value": "def f():\n    return 1", "text": "def f():\n    return 1"}),
        ({"output": "code"}, ["Well, one\ncould do that", "ls -la | wc -l"],
         {"value": "ls -la | wc -l", "text": "ls -la | wc -l"}),
    ],
)  # fmt: skip
def test_answers_are_accepted_or_asked_for_again(
    settings: dict[str, Any], answers: list[str | Completion], value: Any
) -> None:
    assert value_of(settings, *answers) == value


@pytest.mark.parametrize(
    ("settings", "answers", "reason"),
    [
        ({}, [completion(None)] * 4, "null"),
        ({"check": {"unusable": 0}}, [""], "empty"),
        ({}, [REFUSED] * 4, "refusal"),
        ({"check": {"refusal": 0}}, [REFUSED], "refusal"),
        ({"check": {"refusal": False}}, [completion(None, refusal="no")], "refusal"),
        ({"check": {"truncated": 1}}, [completion("a", "length")] * 2, "truncated"),
        ({}, [completion("", "length")], "limit_used_up"),
        ({"output": "json"}, ["none"] * 3, "no_json"),
        ({"output": "json", "check": {"format": 0}}, ["none"], "no_json"),
        ({"output": "json", "schema": SCHEMA}, ["[]"] * 3, "schema"),
        ({"output": "answer"}, ["none"] * 3, "no_answer"),
        ({"output": "code"}, ["one\ntwo three"] * 3, "no_code"),
        ({"check": {"words": {"most": 1, "retries": 1}}}, ["a b"] * 2, "words"),
        ({"check": {"pattern": {"text": "^x$", "retries": 0}}}, ["y"], "pattern"),
        ({"check": {"parroted": 0}}, ["say THIS!"], "parroted"),
        ({"output": "json", "check": {"pattern": {"text": "xyz", "retries": 0}}}, ["{}"], "pattern"),
        # All new calls of a row count, whatever the answers before were rejected for.
        ({"check": {"words": {"most": 1, "retries": 1}}}, [completion(None), "a b"], "words"),
    ],
)
def test_a_budget_is_used_up(settings: dict[str, Any], answers: list[str | Completion], reason: str) -> None:
    assert failure_of(settings, *answers) == reason


# Rows together.


def items(*texts: str, start: int = 1) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=start))


def together(reply: str | Completion, count: int = 4, **settings: Any) -> tuple[list[Any], list[str]]:
    """Values of rows that shared a call, and the prompts of those that were then asked for alone."""

    def answer(call: Call[Any], attempt: int) -> str | Completion:
        return reply if call.messages[0].role == "system" else f"alone {call.messages[-1].content}"

    services = WrittenServices(answer)
    made = {"prompt": "Say {{ q }}", "together": count, **settings}
    results = run(made, services, *(row(q=f"q{number}") for number in range(1, count + 1)))
    return [result.value for result in results], [call.messages[-1].content for call in services.asked[1:]]


def test_rows_share_a_call() -> None:
    services = WrittenServices([items("a", "b\nb", "c")])
    rows = [row(q="one\ntwo"), row(q="x"), row(q="y")]
    made = {"prompt": "Say {{ q }}", "together": 3, "system": "Be brief.", "params": {"max_tokens": 5}}
    assert [result.value for result in run(made, services, *rows)] == ["a", "b\nb", "c"]
    assert services.asked[0].messages == (
        Message("system", f"Be brief.\n\n{MANY}"), Message("user", "1. Say one two\n2. Say x\n3. Say y")
    )  # fmt: skip
    assert step(**made).rows_per_call == 3
    assert step(**made).shares_work


@pytest.mark.parametrize(
    ("reply", "alone"),
    [
        ("Sure!\n\n1. a\n2. b\n4. d", {3}),
        ("2. b\n3. c\n4. d", {1}),
        ("1. a\n1. first\n2. b\n3. c\n4. d", set()),
        ("1. a\n   1. first\n   2. second\n2. b\n3. c\n4. d", set()),
        ("**1.** a\n**2.** b\n**3.** c\n**4.** d", set()),
        ("1) a\n2) b\n3)\n4) d", {3}),
        ("1. a\n2. b\n3. c\n4. d\n5. e", set()),
        ("no numbers at all", {1, 2, 3, 4}),
        ("", {1, 2, 3, 4}),
        (completion("1. a\n2. b\n3. c", "length"), {3, 4}),
        (completion(None), {1, 2, 3, 4}),
        ("1. a\n2. " + REFUSED + "\n3. c\n4. d", {2}),
    ],
)
def test_what_a_common_reply_leaves_out_is_asked_for_alone(reply: str | Completion, alone: set[int]) -> None:
    values, asked = together(reply)
    assert asked == [f"Say q{number}" for number in sorted(alone)]
    for number, value in enumerate(values, start=1):
        expected = f"alone Say q{number}" if number in alone else "abcd"[number - 1]
        assert value.startswith(expected)
        assert len(value) < 30


def test_checks_hold_for_each_row_of_a_common_reply() -> None:
    values, asked = together(items("good", "a bad one", "good", "good"), check={"words": {"most": 2}})
    assert asked == ["Say q2"] * 3
    assert values == ["good", None, "good", "good"]


def test_a_row_whose_prompt_fails_keeps_no_other_from_sharing() -> None:
    services = WrittenServices([items("a", "b")])
    results = run({"prompt": "{{ q }}", "together": 3}, services, row(q="1"), row(p="2"), row(q="3"))
    assert [result.value for result in results] == ["a", None, "b"]
    assert results[1].failure == ("prompt", "prompt: the row has no column q")
    assert len(services.asked) == 1
