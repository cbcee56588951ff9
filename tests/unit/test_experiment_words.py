"""The words of a user: models by name, steps with their files, single keys set, and the traps of YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.core.experiment.experiment import Experiment
from tests.support.experiment_files import EXPLAIN, MINIMAL, NAMED, load, refusal, with_steps


def test_the_smallest_experiment(tmp_path: Path) -> None:
    experiment = load(tmp_path, EXPLAIN)
    assert experiment.data
    assert experiment.data.path == str(tmp_path / "rows.csv")
    assert (experiment.task, experiment.dataset, experiment.passages) == (None, None, None)
    assert experiment.model("teacher").model == "gpt-5-mini"
    assert {name: model.name for name, model in experiment.models.items()} == {
        "critic": "critic",
        "small": "small",
    }
    assert [step.kind for step in experiment.steps.values()] == ["generate"]
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


def test_a_dataset_of_the_hub_is_no_path(tmp_path: Path) -> None:
    experiment = load(tmp_path, EXPLAIN | {"data": "hf:openai/gsm8k/main?split=train"})
    assert experiment.data
    assert experiment.data.path == "hf:openai/gsm8k/main?split=train"


def test_entries_of_models_play_roles(tmp_path: Path) -> None:
    roles = {"students": ["small", {"backend": "embedded", "name": "own"}], "judge": {"model": "critic"}}
    experiment = load(tmp_path, NAMED | roles)
    assert [(each.name, each.backend, each.prompt_format) for each in experiment.students] == [
        ("small", "embedded", "raw"),
        ("own", "embedded", "raw"),
    ]
    assert experiment.judge.model
    assert experiment.judge.model.name == "critic"
    assert experiment.teacher
    assert experiment.teacher.name == "teacher"
    assert experiment.models == {}


def test_one_entry_plays_two_roles(tmp_path: Path) -> None:
    experiment = load(tmp_path, NAMED | {"teacher": "critic", "judge": {"model": "critic"}})
    assert experiment.model("teacher").queue == experiment.model("judge").queue == "model.gpt-5"
    assert experiment.model("critic").model == "gpt-5"
    assert list(experiment.models) == ["small"]


def test_what_the_experiment_sets_itself_wins(tmp_path: Path) -> None:
    judged = {"judge": {"backend": "openai", "model": "j"}}
    experiment = load(tmp_path, NAMED | {"models": EXPLAIN["models"] | judged, "teacher": "embedded"})
    assert experiment.teacher
    assert experiment.teacher.backend == "embedded"
    assert experiment.judge.model
    assert experiment.judge.model.model == "j"
    assert list(experiment.models) == ["critic", "small"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"teacher": "crtic"}, "teacher: crtic is not defined: models has teacher, critic, small; did you"),
        ({"students": ["smal"]}, "students.0: smal is not defined: models has teacher, critic, small; did"),
        ({"judge": {"model": "x"}}, "judge.model: x is not defined: models has teacher, critic, small"),
        ({"models": {"teacher": "gpt-5"}}, "models.teacher.backend: takes openai, server, embedded, vllm,"),
        ({"models": {"teacher": {"backend": "openai"}}}, "models.teacher: backend openai needs a model"),
        ({"models": {"judge": {"backend": "openai", "rpm": 0}}}, "models.judge.rpm: takes a whole number of"),
        ({"models": {"small": {"backend": "nil"}}, "students": ["small"]}, "models.small.backend: takes"),
        ({"models": {"a b": "embedded"}}, "models.a b: takes a name of up to 64 letters, digits"),
        ({"models": ["embedded"]}, "models: takes a text or a mapping of keys to values, found the list"),
        ({"models": {"critic": None}}, "models.critic: takes a mapping of keys to values, found nothing"),
    ],
)
def test_a_model_that_is_wrong_is_named_where_it_stands(tmp_path: Path, config: Any, says: str) -> None:
    assert refusal(tmp_path, NAMED | config).startswith(says)


def test_files_of_steps_become_part_of_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "ask.j2").write_text("Ask: {{ question }}")
    (tmp_path / "you.md").write_text("You are brief.")
    (tmp_path / "shape.json").write_text(json.dumps({"type": "object"}))
    (tmp_path / "shown.jsonl").write_text('{"question": "q", "a": {}}\n')
    step = {"prompt": "ask.j2", "system": "you.md", "output": "json", "schema": "shape.json",
            "examples": "shown.jsonl"}  # fmt: skip
    frozen = load(tmp_path, with_steps(a=step)).model_dump(mode="json")["steps"]["a"]
    assert (frozen["prompt"], frozen["system"]) == ("Ask: {{ question }}", "You are brief.")
    assert (frozen["output_schema"], frozen["examples"]) == ({"type": "object"}, [{"question": "q", "a": {}}])
    (tmp_path / "shape.json").write_text("{")
    assert "shape.json:1: is not JSON" in refusal(tmp_path, with_steps(a=step))
    (tmp_path / "ask.j2").write_bytes(b"\xff")
    assert f"steps.a.prompt: {tmp_path}/ask.j2 cannot be read" in refusal(tmp_path, with_steps(a=step))


def test_a_task_folder_lends_steps_its_files(tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    (task / "ask.md").write_text("Ask: {{ question }}")
    (task / "task.py").write_text("def correct(answer, reference):\n    return True\n")
    experiment = load(tmp_path, with_steps(a={"prompt": "ask.md"}) | {"task": "task"})
    assert experiment.task
    assert experiment.task.module.startswith("def correct")
    assert experiment.steps["a"].prompts()["prompt"] == "Ask: {{ question }}"
    (task / "task.yaml").write_text("data: rows.csv\ngrid: {shots: [0]}\njudge: {metrics: [chrf]}\n")
    experiment = load(tmp_path, {key: EXPLAIN[key] for key in ("name", "models", "steps")} | {"task": "task"})
    assert experiment.data
    assert experiment.data.path == str(task / "rows.csv")


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("steps.explain.samples=3", "steps.explain.samples", 3),
        ("steps.explain.params.temperature=0", "steps.explain.params", {"temperature": 0}),
        ("steps.more={prompt: p}", "steps.more.prompt", "p"),
        ("steps.explain.prompt=Say: {{ question }} # 1", "steps.explain.prompt", "Say: {{ question }} # 1"),
        ("steps.explain.system='no'", "steps.explain.system", "no"),
        ("steps.explain.when=no", "steps.explain.when", "no"),
        ("models.critic.rpm=9", "models.critic.rpm", 9),
        ("models.small.max_concurrency=2", "models.small.backend", "embedded"),
        ("models.teacher.rpm=9", "teacher.rpm", 9),
        ("teacher.rpm=9", "teacher.rpm", 9),
        ("teacher=critic", "teacher.model", "gpt-5"),
        ("teacher=embedded", "teacher.backend", "embedded"),
        ("data.limit=5", "data.limit", 5),
        ("data.path=/other.csv", "data.path", "/other.csv"),
        ("data=/other.csv", "data.path", "/other.csv"),
        ("split.test=0.1", "split.test", 0.1),
    ],
)
def test_override_reaches_steps_and_models(tmp_path: Path, override: str, where: str, value: Any) -> None:
    found: Any = load(tmp_path, EXPLAIN, override).model_dump()
    for part in where.split("."):
        found = found[part]
    assert found == value


def test_override_reaches_an_entry_whose_name_has_a_dot(tmp_path: Path) -> None:
    models = {"gpt-4.1": {"backend": "openai", "model": "gpt-4.1"}}
    experiment = load(tmp_path, EXPLAIN | {"models": models, "teacher": "gpt-4.1"}, "models.gpt-4.1.rpm=5")
    assert experiment.model("teacher").rpm == 5


def test_override_of_a_role_reaches_the_entry_that_plays_it(tmp_path: Path) -> None:
    roles = {"students": ["small"], "judge": {"model": "critic"}}
    changed = ("students.0.max_concurrency=2", "judge.model.rpm=3")
    experiment = load(tmp_path, NAMED | roles, *changed)
    assert experiment.students[0].max_concurrency == 2
    assert experiment.judge.model
    assert (experiment.judge.model.rpm, experiment.judge.model.model) == (3, "gpt-5")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("steps.explan.samples=3", "--set: steps.explan.samples: there is no step explan; did you mean"),
        ("steps.x.samples=3", "--set: steps.x.samples: there is no step x; steps are explain"),
        ("steps.explain.sample=3", "steps.explain.sample: unknown key; did you mean samples?"),
        ("models.critic.rpm=0", "models.critic.rpm: takes a whole number of at least 1, found the number 0"),
        ("teacher.rpm=0", "models.teacher.rpm: takes a whole number of at least 1, found the number 0"),
        ("students=[nobody]", "students: belongs to the pipeline star, and steps do not use it"),
        ("split.test=2.5", "split.test: takes a share between 0 and 1, or a number of rows from 1"),
    ],
)
def test_override_that_cannot_be_is_refused(tmp_path: Path, override: str, says: str) -> None:
    assert refusal(tmp_path, EXPLAIN, override).startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; an experiment is a mapping of name, data, models and steps, or of"),
        ("- name: a", "is no mapping; an experiment is a mapping of name, data, models and steps"),
        ("name: a\ndata: b\nname: c", ":3: not valid YAML: the key name stands also on line 1; keep one"),
        ("name: a\nmodels: {a: embedded, a: x}", ":2: not valid YAML: the key a stands twice on this"),
        ("name: a\n\tdata: b", ":2: not valid YAML: found character '\\t' that cannot start any token;"),
        ("name: a\nsteps:\n  a: {prompt: Say {{ b }}}", ":3: not valid YAML: expected ',' or '}', but got"),
        ("name: a\nsteps:\n  a: {prompt: {{ b }}}", ":3: not valid YAML: found unhashable key; put a text"),
        ("name: a\nprompt: Say: {{ b }}", ":2: not valid YAML: mapping values are not allowed here; put a"),
        ("name: a\nsteps:\n  on: {prompt: p}", ":3: not valid YAML: YAML reads the key on as true or"),
        ("name: no", "name: takes a name of up to 64 letters, digits, '.', '_' and '-', which begins with"),
        ("name: 7", "name: takes a name of up to 64 letters, digits, '.', '_' and '-', which begins with"),
        ("name: 2026-01-01", "name: takes a name of up to 64 letters, digits, '.', '_' and '-', which"),
        ("name: a\ndata: b\n3: c", "3: a key must be a text, found the number 3; put it in quotes"),
        ("name: a\ndata: b\nsteps: {1: {prompt: p}}", "steps.1: takes a name of up to 64 letters, digits"),
    ],
)
def test_traps_of_yaml_are_told(tmp_path: Path, text: str, says: str) -> None:
    line = refusal(tmp_path, text)
    assert says in line
    assert line.endswith({"name: no": "put the word in quotes", "name: 7": "put it in quotes"}.get(text, ""))


def test_the_pipeline_star_may_be_named(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL | {"pipeline": "star"}) == load(tmp_path, MINIMAL)
