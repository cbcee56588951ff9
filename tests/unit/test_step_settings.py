"""Settings of steps: the kind that their keys tell, what comes back from the ledger, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from models.core.kinds import KINDS, AnyStep
from models.core.kinds.generate import GenerateStep
from models.core.kinds.python import PythonStep, missing_function
from tests.support.step_services import step

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"prompt": "x"}, "generate"),
        ({"of": "a", "rule": "text"}, "judge"),
        ({"prompt": "x", "score": [1, 5]}, "judge"),
        ({"of": ["a", "b"], "by": "c.score"}, "vote"),
        ({"of": "a"}, "vote"),
        ({"query": "{{ q }}"}, "retrieve"),
        ({"kind": "judge", "prompt": "Right?"}, "judge"),
    ],
)
def test_the_keys_of_a_step_tell_its_kind(settings: dict[str, Any], kind: str) -> None:
    made = step(**settings)
    assert made.kind == kind
    assert type(made) is KINDS[kind]


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "{{ q }}", "output": "json", "schema": SCHEMA, "samples": 3, "when": "q", "needs": ["a"],
         "check": {"refusal": False, "words": {"most": 3}, "pattern": {"text": "^a"}}},
        {"prompt": "{{ q }}", "examples": [{"q": "1", "x": "2"}], "shots": 1},
        {"prompt": "{{ q }}", "score": {"least": 0, "most": 10, "rubric": {0: "bad", 10: "good"}}},
        {"of": ["a", "b"], "by": ["c.score", "d.score"], "least": 2},
        {"query": "{{ q }}", "top_k": 2},
    ],
)  # fmt: skip
def test_steps_come_back_from_the_ledger(settings: dict[str, Any]) -> None:
    made = step(**settings)
    stored = made.model_dump(mode="json")
    assert TypeAdapter(AnyStep).validate_json(TypeAdapter(dict[str, Any]).dump_json(stored)) == made


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prompt": " "}, "is empty; write what the model is asked"),
        ({"prompt": "{{ q"}, "is no template"),
        ({"prompt": "x", "when": "a <"}, "is no condition"),
        ({"prompt": "x", "schema": SCHEMA}, "schema needs output: json"),
        ({"prompt": "x", "output": "json", "schema": {"type": "text"}}, "schema is no JSON Schema"),
        ({"prompt": "x", "together": 2, "samples": 2}, "together > 1 asks for plain texts"),
        ({"prompt": "x", "together": 2, "output": "json"}, "together > 1 asks for plain texts"),
        ({"prompt": "x", "together": 2, "system": "{{ q }}"}, "together > 1 has one system text"),
        ({"prompt": "x", "shots": 1}, "shots 1 is more than the 0 examples"),
        ({"prompt": "{{ q }}", "examples": [{"x": "1"}]}, "examples.0 lacks q, which the prompt reads"),
        (
            {"prompt": "{{ q }}", "examples": [{"q": "1"}]},
            "examples.0 has nothing beside what the prompt reads",
        ),
        ({"prompt": "{{ q }}", "examples": [{"q": 1, "x": 2, "y": 3}]}, "examples.0 has x, y beside"),
        ({"prompt": "x", "check": {"words": {"least": 3, "most": 2}}}, "least 3 is above most 2"),
        ({"prompt": "x", "check": {"pattern": {"text": "("}}}, "is no regular expression"),
        ({"kind": "judge"}, "needs either a rule or a prompt for a model"),
        ({"rule": "text", "prompt": "x"}, "needs either a rule or a prompt for a model"),
        ({"rule": "text"}, "rule text needs the column to judge; set of"),
        ({"prompt": "x", "score": [5, 1]}, "least 5 must be below most 1"),
        ({"prompt": "x", "score": {"rubric": {0: "bad"}}}, "rubric 0 is not from 1 to 5"),
        ({"of": ["a", "b", "c"], "by": ["x", "y"]}, "names 2 scores for 3 columns"),
        ({"of": "a", "least": 2}, "least 2 is no share of votes, from 0 to 1; for a score set by"),
        ({"of": "a", "by": "s", "least": 2, "keep": "all"}, "least bounds the best value"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as error:
        step(**settings)
    assert words in str(error.value)


def test_every_reason_of_a_rejection_has_a_budget() -> None:
    made = step(prompt="x", check={"words": {"most": 1}, "pattern": {"text": "a"}})
    assert isinstance(made, GenerateStep)
    assert set(made.check.budgets().values()) == {0, 2, 3}


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def facts_off(row):\n    return row\n", "code has no function facts_of; did you mean facts_off?"),
        ("x = 1\n", "code has no function facts_of; there is none"),
        ("def facts_of(row:\n", "code is no Python in line 1; is it the right file?"),
        ("task.py", "code has no function facts_of"),
        ("def facts_of(row):\n    return {}\n", ""),
        ("from shop import facts_of\n", ""),
        ("from shop import *\n", ""),
        ("facts_of = lambda row: {}\n", ""),
    ],
)
def test_function_of_a_python_step_is_looked_for_before_a_run(code: str, problem: str) -> None:
    found = missing_function(code, "facts_of")
    assert found.startswith(problem) if problem else not found
    settings = {"kind": "python", "function": "facts_of", "code": code}
    if not problem:
        assert PythonStep.model_validate(settings).code == code
        return
    with pytest.raises(ValidationError, match=r"code (has no function|is no Python)"):
        PythonStep.model_validate(settings)
