"""The order of steps: what each waits for, how many samples it has, and pipelines that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from models.core.errors import ExperimentError
from models.core.experiment.experiment import Experiment
from models.core.experiment.parts import missing_part
from models.core.kinds.order import check_steps, read_steps, sample_counts
from models.core.pipeline.graph import Slot
from models.core.pipeline.plan import planned_slots, queues, rows_per_call, stage_names, units_per_task
from models.core.pipeline.steps import check_columns
from models.core.types import AnswerTests, Example
from producer.experiments.row_requirements import require_step_references
from tests.support.step_services import step

REFINED: dict[str, Any] = {
    "draft": {"prompt": "{{ q }}", "samples": 3},
    "critique": {"model": "critic", "prompt": "{{ draft }}", "score": [1, 5]},
    "revise": {"prompt": "{{ draft }} {{ critique.reason }}", "when": "critique.score < 4"},
    "best": {"of": ["revise", "draft"], "by": "critique.score"},
    "right": {"of": "best", "rule": "text", "reference": "a"},
}


def experiment(steps: dict[str, Any], **sections: Any) -> Experiment:
    config: dict[str, Any] = {
        "name": "steps",
        "data": "rows.csv",
        "teacher": {"backend": "openai", "model": "writer"},
        "models": {"critic": {"backend": "openai", "model": "reader"}},
        "steps": steps,
    }
    return Experiment.model_validate(config | sections)


def refusal(**steps: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=r"^steps") as error:
        check_steps({name: step(**settings) for name, settings in steps.items()})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_pipeline_is_planned_by_what_each_step_reads() -> None:
    made = experiment(REFINED)
    assert {name: read_steps(made.steps, name) for name in made.steps} == {
        "draft": [],
        "critique": ["draft"],
        "revise": ["draft", "critique"],
        "best": ["draft", "critique", "revise"],
        "right": ["best"],
    }
    assert sample_counts(made.steps) == {"draft": 3, "critique": 3, "revise": 3, "best": 1, "right": 1}
    slots = planned_slots(made)
    assert slots["train"] == slots["test"]
    assert len(slots["train"]) == 11
    assert slots["train"][4] == Slot("critique", "", "model.reader", (("draft", "", 1),), 1, kind="judge")
    assert slots["train"][7].after == (("draft", "", 1), ("critique", "", 1))
    best = slots["train"][9]
    assert (best.gathers, best.queue, best.kind, len(best.after)) == (True, "judge", "vote", 9)
    assert stage_names(made) == ("draft", "critique", "revise", "best", "right")
    assert queues(made) == ["judge", "model.reader", "model.writer"]


def test_steps_may_be_named_like_stages_of_star() -> None:
    made = experiment({
        "rationale": {"prompt": "{{ q }}", "samples": 2},
        "answer": {"of": "rationale"},
        "judge": {"of": "answer", "rule": "text", "reference": "a"},
    })  # fmt: skip
    assert [slot.kind for slot in planned_slots(made)["train"]] == ["generate", "generate", "vote", "judge"]
    assert units_per_task(made, "answer") == 64


def test_rows_of_one_call_are_one_task() -> None:
    made = experiment({"many": {"prompt": "{{ q }}", "together": 50}, "one": {"prompt": "{{ many }}"}})
    assert rows_per_call(made) == {"many": 50}
    assert units_per_task(made, "many") == 50


def test_a_step_waits_for_those_that_it_needs_and_its_condition_reads() -> None:
    steps = {
        "a": step(prompt="{{ q }}"),
        "b": step(prompt="{{ q }}", needs=["a"]),
        "c": step(prompt='{{ row["b"] }}'),
        "d": step(prompt="{{ q }}", when="row.c and not a"),
        "e": step(prompt="{{ loop }} {{ row }}"),
    }
    check_steps(steps)
    assert [read_steps(steps, name) for name in steps] == [[], ["a"], ["b"], ["a", "c"], ["a", "b", "c", "d"]]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({"a": {"prompt": "{{ a }}"}}, "steps.a.prompt: reads the column a, which the step itself makes"),
        ({"a": {"prompt": "x", "when": "a"}}, "steps.a.when: reads the column a"),
        ({"a": {"prompt": "{{ b }}"}, "b": {"prompt": "x"}},
         "steps.a.prompt: reads b, which comes later; move b above a"),
        ({"a": {"prompt": "{{ b }}"}, "b": {"prompt": "{{ a }}"}}, "a cycle: a -> b -> a"),
        ({"a": {"prompt": "{{ c }}"}, "b": {"prompt": "{{ a }}"}, "c": {"prompt": "{{ b }}"}},
         "a cycle: a -> c -> b -> a"),
        ({"a": {"prompt": "x", "needs": ["b"]}, "b": {"prompt": "{{ a }}"}}, "a cycle: a -> b -> a"),
        ({"a": {"prompt": "x", "needs": ["drfat"]}, "draft": {"prompt": "x"}},
         "steps.a.needs: there is no step drfat; did you mean draft? there are a, draft"),
        ({"a": {"prompt": "x", "samples": 2}, "b": {"prompt": "{{ a }}", "samples": 2}},
         "steps.b.samples: a has samples already"),
        ({"a": {"prompt": "x", "samples": 2}, "b": {"prompt": "x", "samples": 3},
          "c": {"prompt": "{{ a }}{{ b }}"}},
         "steps.c: reads steps with different numbers of samples: a 2, b 3"),
        ({"a": {"prompt": "x", "samples": 2}, "b": {"of": "a", "when": "a.score > 3"}},
         "steps.b.when: reads a, which has 2 samples here"),
        ({"a": {"of": "q", "rule": "text"}, "b": {"prompt": "x", "when": "hard and not a"}},
         "steps.b.when: a is an object, which is always true; write a.correct"),
        ({"a": {"prompt": "x", "score": [1, 5]}, "b": {"prompt": "x", "when": "a"}}, "write a.score"),
        ({"a": {"prompt": "x", "score": [1, 5]}, "b": {"prompt": "x", "when": "a.scor < 4"}},
         "steps.b.when: a has no part scor; did you mean score? there are reason, score"),
        ({"a": {"prompt": "x", "kind": "judge"}, "b": {"prompt": "x", "when": "not row.a.corect"}},
         "steps.b.when: a has no part corect; did you mean correct?"),
        ({"a": {"of": "q", "rule": "text"}, "b": {"prompt": '{{ row["a"]["reason"] }}'}},
         "steps.b.prompt: a has no part reason; there are correct"),
        ({"a": {"prompt": "x"}, "b": {"prompt": "{{ a.text }}"}}, "a has no part text; write a alone"),
        ({"a": {"prompt": "x", "output": "code"}, "b": {"of": "a.txt", "rule": "tree"}},
         "steps.b.of: a has no part txt; did you mean text?"),
        ({"a": {"prompt": "x", "samples": 2}, "s": {"prompt": "{{ a }}", "score": [1, 5]},
          "b": {"of": "a", "by": "s.scor"}}, "steps.b.by: s has no part scor; did you mean score?"),
        ({"a": {"prompt": "x", "samples": 2}, "s": {"prompt": "{{ a }}", "score": [1, 5]},
          "b": {"of": "a", "by": "s"}}, "steps.b.by: s is an object, no score; write s.score"),
        ({"a": {"prompt": "x", "samples": 2}, "b": {"of": "a"}, "c": {"prompt": "x", "when": "b.score"}},
         "steps.c.when: b has no part score; there are accepted, agreement"),
        ({"row": {"prompt": "x"}}, "steps.row: is a word of prompts and conditions; rename the step"),
        ({"none": {"prompt": "x"}}, "steps.none: is a word"),
    ],
)  # fmt: skip
def test_pipelines_that_cannot_be_are_refused(steps: dict[str, Any], words: str) -> None:
    assert words in refusal(**steps)


def test_a_condition_may_take_the_truth_of_a_value() -> None:
    steps = {
        "a": step(prompt="x"),
        "right": step(of="a", rule="text"),
        "b": step(prompt="x", when="a and not right.correct and right is not none or right == a"),
    }
    check_steps(steps)


def test_parts_of_values_that_are_not_foreseen_may_have_any_name() -> None:
    steps = {
        "a": step(prompt="x", output="json", samples=2),
        "code": step(prompt="x", output="code", samples=2),
        "best": step(of="a"),
        "program": step(of="code"),
        "facts": step(kind="python", function="facts"),
        "b": step(prompt="{{ best.title }}{{ facts.town }}{{ q.name }}{{ program.text }}"),
        "c": step(prompt="{% for b in facts.towns %}{{ b.name }}{% endfor %}{{ b }}"),
        "d": step(prompt="x", when="best.agreement > 0.5 and program.accepted"),
    }
    check_steps(steps)


def test_a_vote_may_have_a_condition_over_what_has_no_samples() -> None:
    steps = {
        "a": step(prompt="x", samples=2),
        "hard": step(prompt="y"),
        "b": step(of="a", when="hard and level > 2"),
    }
    check_steps(steps)
    assert sample_counts(steps) == {"a": 2, "hard": 1, "b": 1}


@pytest.mark.parametrize(
    ("steps", "columns", "message"),
    [
        ({"a": {"prompt": "{{ questoin }}"}}, ["question", "level"],
         "steps.a.prompt: there is no column questoin; did you mean question? there are question, level"),
        ({"a": {"prompt": '{{ row["levl"] }}'}}, ["level"], "there is no column levl; did you mean level?"),
        ({"a": {"prompt": "x"}, "b": {"of": "aa", "rule": "text"}}, [], "steps.b.of: there is no column aa"),
        ({"a": {"prompt": "x", "when": "lvl > 2"}}, ["level"], "steps.a.when: there is no column lvl"),
        ({"a": {"prompt": "Explain {question}"}}, ["question"],
         "steps.a.prompt: reads no column; write {{ question }} for {question}"),
        ({"a": {"prompt": "x"}}, ["a"], "steps.a: would overwrite the column of this name; rename the step"),
    ],
)  # fmt: skip
def test_columns_that_are_not_there_are_named(
    steps: dict[str, Any], columns: list[str], message: str
) -> None:
    with pytest.raises(ExperimentError) as error:
        check_columns(experiment(steps), columns)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("judge", "row", "words"),
    [
        ({"rule": "text"}, {}, "steps.x.reference: no row has a reference; name the column here"),
        ({"rule": "text"}, {"reference": " "}, "steps.x.reference: no row has a reference"),
        ({"rule": "text"}, {"reference": "a"}, ""),
        ({"rule": "text", "reference": "answer"}, {}, ""),
        (
            {"rule": "execution"},
            {"reference": "a"},
            "steps.x.rule: execution needs tests",
        ),
        ({"rule": "execution"}, {"tests": AnswerTests("assert x")}, ""),
    ],
)
def test_a_rule_needs_references_or_tests(judge: dict[str, Any], row: dict[str, Any], words: str) -> None:
    rows = [Example(0, "0", "", ""), Example(1, "1", "", **{"reference": "", **row})]
    made = experiment({"x": {"of": "q", **judge}})
    assert made.executes is (judge["rule"] == "execution")
    message = ""
    try:
        require_step_references(made, {"train": rows, "test": []})
    except ExperimentError as error:
        message = str(error)
    assert words in message
    assert bool(message) is bool(words)


def test_columns_of_earlier_steps_and_of_the_data_are_there() -> None:
    check_columns(experiment(REFINED), ["q", "a"])
    check_columns(
        experiment({"x": {"prompt": '{{ row["my column"] }} {{ row }} {{ row.q }}'}}), ["my column", "q"]
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prompt": "x", "model": "critc"}, "model: critc is not defined; did you mean critic?"),
        ({"kind": "judge", "prompt": "x"}, "model: judge is not defined"),
    ],
)
def test_the_model_of_a_step_must_be_defined(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r"steps\.a\.") as error:
        experiment({"a": settings})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"query": "x"}, "steps.a: searches the section passages, which is not there"),
        ({"of": "q", "rule": "module"}, "steps.a: calls the functions of a task.py"),
        ({"prompt": "x", "together": 5}, "steps.a.together: a batch takes a call for each row; leave it out"),
        ({"prompt": "x"}, ""),
    ],
)
def test_what_a_step_needs_must_be_in_the_experiment(settings: dict[str, Any], words: str) -> None:
    teacher = {"backend": "openai", "model": "writer", "delivery": "batch"}
    missing = missing_part(experiment({"a": settings}, teacher=teacher))
    assert missing.startswith(words)
    assert bool(missing) is bool(words)
