"""The kinds judge, vote and retrieve: odd replies of judges, ties, missing values, and searches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.core.kinds.step import Row, SampledValues, StepResult
from models.core.prompts.column_values import column_value
from models.core.types import AnswerTests, Completion
from tests.support.step_services import WrittenServices, execute, row, step


def run(settings: dict[str, Any], services: WrittenServices, *rows: Row) -> list[StepResult]:
    return asyncio.run(execute(step(**settings), services, *rows))


@pytest.mark.parametrize(
    ("rule", "answer", "reference", "correct"),
    [
        ("text", "The Paris.", "paris", True),
        ("text", "London", "paris", False),
        ("text", "It is big. The answer is Paris", "paris", True),
        ("tree", "f( x )", "f(x)", True),
        ("strict", "x.", "x", True),
        ("shell", "ls -la", "ls -a -l", True),
        ("text", {"a": 1}, '{"a": 1}', True),
        ("text", None, "paris", False),
        ("module", "ab", "AB", False),
        ("module", "AB", "ab", True),
    ],
)
def test_rules_judge_a_column(rule: str, answer: Any, reference: str, correct: bool) -> None:
    [by_data] = run({"of": "a", "rule": rule}, WrittenServices(), row(a=answer, reference=reference))
    columns = {"a": {"b": answer}, "expected": {"x": reference}}
    [named] = run({"of": "a.b", "rule": rule, "reference": "expected.x"}, WrittenServices(), row(columns))
    assert by_data.value == named.value == {"correct": correct}
    assert step(of="a", rule=rule).is_right(by_data.stored()) is correct


def test_tests_judge_a_column() -> None:
    judge = {"of": "a", "rule": "execution"}
    [failed] = run(
        judge, WrittenServices(verdict=(False, "timeout")), row(a="x", tests=AnswerTests("assert x"))
    )
    assert failed.value == {"correct": False, "reason": "timeout"}
    [without] = run(judge, WrittenServices(), row(a="x"))
    assert without.failure == ("no_tests", "the row has no tests")


def test_a_rule_without_a_reference_judges_nothing() -> None:
    [without] = run({"of": "a", "rule": "text"}, WrittenServices(), row(a="x"))
    assert without.failure == ("no_reference", "the row has no reference: set reference to a column")
    named = {"of": "a", "rule": "text", "reference": "r"}
    [empty] = run(named, WrittenServices(), row(a="x", r=" "))
    assert empty.failure == ("no_reference", "the row has no reference: column r is empty")


def judged(settings: dict[str, Any], *answers: str | Completion) -> StepResult:
    services = WrittenServices(answers)
    [result] = run({"prompt": "Judge {{ a }}", **settings}, services, row(a="x"))
    assert len(services.asked) == len(answers)
    return result


@pytest.mark.parametrize(
    ("answer", "correct", "reason"),
    [
        ('{"reason": "so", "correct": true}', True, "so"),
        ('```json\n{"reason": "so", "correct": false}\n```', False, "so"),
        ('{"correct": false, "reason": ["a"]}', False, '["a"]'),
        ("It holds. Verdict: right", True, "It holds. Verdict: right"),
    ],
)
def test_a_model_gives_verdicts(answer: str, correct: bool, reason: str) -> None:
    result = judged({"kind": "judge"}, "maybe", answer)
    assert result.value == {"correct": correct, "reason": reason}
    assert step(kind="judge", prompt="x").is_right(result.stored()) is correct


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"reason": "so", "score": 4}', 4),
        ('{"score": 3.5}', 3.5),
        ('{"Score": "4"}', 4),
        ('{"score": "4/5", "reason": "x"}', 4),
        ('Fine, see [1].\n{"reason": "so", "score": 2}', 2),
        ("Score: 4", 4), ("**Score:** 4.5", 4.5), ("Score (1 to 5): 4/5", 4), ("I give it a score of 3.", 3),
        ("The final score is 2", 2), ("Score: 2. On reflection, Score: 3", 3), ("4", 4), ("4/5", 4),
        ("**5**", 5), ("4 out of 5.", 4), ("A score from 1 to 5, so: Score = 1", 1),
    ],
)  # fmt: skip
def test_a_model_gives_scores_in_odd_forms(answer: str, score: float) -> None:
    value = judged({"score": [1, 5]}, answer).value
    assert value["score"] == score
    assert isinstance(value["score"], int) is float(score).is_integer()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [('{"SCORE": "4", "Reason": "so"}', "so"), ('{"score": 4}', ""), ("So. Score: 4", "So. Score: 4")],
)
def test_a_score_has_its_reason(answer: str, reason: str) -> None:
    assert judged({"score": [1, 5]}, answer).value == {"score": 4, "reason": reason}


@pytest.mark.parametrize(
    "answer",
    [
        "It is good", "Score: 9", '{"score": 0}', '{"score": true}', '{"score": null}', '{"score": "high"}',
        '{"score": [4]}', '{"score": 1e999}', '{"score": ' + "9" * 400 + "}", "Score: 1-5",
        "the score range 1 to 5", "Score: 12.5e3", "Score: 1 to 5", "10", "scores vary",
        '{"rating": 4}', "[4]", "-1", "4 5",
    ],
)  # fmt: skip
def test_what_is_no_score_is_asked_for_again(answer: str) -> None:
    assert judged({"score": [1, 5]}, answer, '{"score": 3}').value["score"] == 3
    failed = judged({"score": [1, 5], "retries": 0}, answer)
    assert failed.failure
    assert failed.failure[0] == "no_score"


def test_a_judge_is_told_the_rubric_and_how_to_answer() -> None:
    services = WrittenServices(['{"score": 0, "reason": ""}'])
    score = {"least": 0, "most": 10, "rubric": {10: "perfect", 0: "useless"}}
    run({"prompt": "Rate {{ a }}\n", "score": score, "system": "Be strict."}, services, row(a="x"))
    [call] = services.asked
    assert [message.content for message in call.messages] == [
        "Be strict.",
        'Rate x\n\n0: useless\n10: perfect\nAnswer with JSON: {"reason": "...", "score": N}, N being a '
        "number from 0 to 10.",
    ]
    assert call.schema
    assert call.schema["properties"]["score"] == {"type": "number", "minimum": 0, "maximum": 10}


# Votes.


def voted(settings: dict[str, Any], **columns: Any) -> StepResult:
    values = {
        name: SampledValues(value) if isinstance(value, tuple) else value for name, value in columns.items()
    }
    [result] = run({"kind": "vote", **settings}, WrittenServices(), row(values))
    return result


def scored(*scores: Any) -> tuple[Any, ...]:
    return tuple(None if score is None else {"score": score} for score in scores)


@pytest.mark.parametrize(
    ("settings", "columns", "value", "agreement"),
    [
        ({}, {"a": ("x", "y", "X.")}, "x", 2 / 3),
        ({}, {"a": ("y", "x", "z")}, "y", 1 / 3),
        ({}, {"a": (None, "x", None)}, "x", 1),
        ({}, {"a": ("", "x", " ")}, "x", 1 / 3),
        ({}, {"a": ({"n": 1}, {"n": 2}, {"n": 2})}, {"n": 2}, 2 / 3),
        ({}, {"a": (True, False, False)}, False, 2 / 3),
        ({"rule": "tree"}, {"a": ("f( 1 )", "g(1)", "f(1)")}, "f( 1 )", 2 / 3),
        ({"of": ["a", "b"]}, {"a": ("x", "y"), "b": "y"}, "y", 2 / 3),
        ({"least": 0.6}, {"a": ("x", "y", "x")}, "x", 2 / 3),
        ({"least": 0.7}, {"a": ("x", "y", "x")}, None, 2 / 3),
        ({"of": "a.n"}, {"a": ({"n": 1}, {"n": 2}, {"n": 2})}, 2, 2 / 3),
    ],
)
def test_the_majority_is_chosen(
    settings: dict[str, Any], columns: dict[str, Any], value: Any, agreement: float
) -> None:
    result = voted({"of": "a", **settings}, **columns)
    assert result.value == value
    assert result.fields == {"agreement": agreement, "accepted": value is not None}


@pytest.mark.parametrize(
    ("settings", "columns", "stored"),
    [
        ({}, {"a": ("x", "y", "z"), "s": scored(1, 5, 3)},
         {"value": "y", "score": 5, "accepted": True, "rejected": "x", "rejected_score": 1}),
        ({}, {"a": ("x", "y", "z"), "s": scored(2, 1, 1)},
         {"value": "x", "score": 2, "accepted": True, "rejected": "z", "rejected_score": 1}),
        ({}, {"a": ("x", "y"), "s": scored(3, 3)}, {"value": "x", "score": 3, "accepted": True}),
        ({}, {"a": (None, "y", "z"), "s": scored(5, None, 2)}, {"value": "z", "score": 2, "accepted": True}),
        ({"least": 4}, {"a": ("x", "y"), "s": scored(3, 2)},
         {"value": None, "score": 3, "accepted": False, "rejected": "y", "rejected_score": 2}),
        ({"of": ["b", "a"]}, {"a": ("x", "y"), "b": (None, "Y"), "s": scored(4, 4)},
         {"value": "Y", "score": 4, "accepted": True}),
        ({"of": ["a", "b"], "by": ["s.score", "t"]}, {"a": ("x", "y"), "b": "z", "s": scored(1, 2), "t": 2.5},
         {"value": "z", "score": 2.5, "accepted": True, "rejected": "x", "rejected_score": 1}),
        ({"by": "s.correct"}, {"a": ("x", "y"), "s": ({"correct": False}, {"correct": True})},
         {"value": "y", "score": 1, "accepted": True, "rejected": "x", "rejected_score": 0}),
        ({"by": "s"}, {"a": ("x", "y", "z"), "s": ("1", " 2.5", "nan")},
         {"value": "y", "score": 2.5, "accepted": True, "rejected": "x", "rejected_score": 1}),
        ({"keep": "all"}, {"a": ("x", None, "z"), "s": scored(1, 2, 3)}, {"value": ["x", "z"]}),
    ],
)  # fmt: skip
def test_the_best_score_is_chosen(settings: dict[str, Any], columns: dict[str, Any], stored: Any) -> None:
    assert voted({"of": "a", "by": "s.score", **settings}, **columns).stored() == stored


def test_a_vote_on_nothing_fails() -> None:
    nothing = ("no_samples", "no value of a is there")
    assert voted({"of": "a"}, a=(None, None)).failure == nothing
    assert voted({"of": "a", "keep": "all"}, a=None).failure == nothing
    not_accepted = column_value({"value": None, "accepted": False})
    assert voted({"of": "a"}, a=not_accepted).failure == nothing
    without = voted({"of": "a", "by": "s.score"}, a=("x",), s=({"score": "high"},))
    assert without.failure == ("no_score", "no value of s.score is a number")


def test_a_chosen_value_keeps_the_text_around_it() -> None:
    drawn = tuple(column_value({"value": answer, "text": f"So {answer}"}) for answer in ("4", "5", "5"))
    result = voted({"of": "a"}, a=drawn)
    assert result.stored() == {"value": "5", "text": "So 5", "agreement": 2 / 3, "accepted": True}


# Searches.


def test_a_search_finds_passages_for_each_row() -> None:
    services = WrittenServices()
    settings = {"query": "{{ q }}", "top_k": 2}
    found, without, failed = run(settings, services, row(q="sort"), row(q="nothing"), row(p=1))
    assert [passage["name"] for passage in found.value] == ["name1", "name2"]
    assert found.value[0] == {"id": "p1", "name": "name1", "signature": "f()", "text": "text", "score": 1.0}
    assert without.value == []
    assert failed.failure
    assert services.queries == ["sort", "nothing"]
