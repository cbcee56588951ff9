"""An experiment is valid, or one line says what is wrong with it, where, and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from models.core.experiment.endpoints import EMBEDDED_MODEL
from models.core.experiment.experiment import Experiment, slug
from models.core.experiment.options import Split
from models.core.pipeline.grid import cells
from tests.support.experiment_files import MINIMAL, load, refusal

OPENAI = {"backend": "openai", "model": "m"}


def test_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, MINIMAL)
    assert loaded.dataset.train == Split(file="train.jsonl")
    assert loaded.dataset.path == str(tmp_path / "data")
    assert (loaded.dataset.loader, loaded.dataset.limit, loaded.seed) == ("jsonl", None, 0)
    assert (loaded.teacher.name, loaded.teacher.model_name) == ("teacher", EMBEDDED_MODEL)
    assert loaded.teacher.delivery == "direct"
    assert [(student.name, student.prompt_format) for student in loaded.students] == [("student", "raw")]
    passages, rationale = loaded.passages, loaded.rationale
    assert (passages.source, passages.packages, passages.top_k) == ("installed", ["stdlib"], 3)
    assert (rationale.correctness, rationale.passes, rationale.drop_wrong) == ("strict", 1, True)
    assert (loaded.grid.shots, loaded.grid.retrieval) == ([0, 2], [False, True])
    assert loaded.grid.rationale == ["none", "first_pass", "star"]
    assert loaded.judge.extraction == "strict"
    assert loaded.units_per_task.model_dump() == {
        "augment": 8, "retrieve": 16, "rationale": 8, "rationalize": 8, "answer": 8, "judge": 64, "grow": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("section", "value", "says"),
    [
        ("name", None, "name: Input should be a valid string"),
        ("name", "a/b", "name: String should match pattern"),
        ("name", "", "name: String should match pattern"),
        ("name", "a\n", "name: String should match pattern"),
        ("name", "x" * 65, "name: String should match pattern"),
        ("seed", True, "seed: Input should be a valid integer (found true)"),
        ("seed", 1.5, "seed: Input should be a valid integer (found 1.5)"),
        ("seed", "one", 'seed: Input should be a valid integer (found "one")'),
        ("dataset", 3, "dataset: must be a mapping of keys to values"),
        ("dataset", {"path": "d", "train": "t"}, "dataset.test: is required"),
        ("dataset", MINIMAL["dataset"] | {"loader": "csv"}, "dataset.loader: Input should be 'jsonl', "),
        ("dataset", MINIMAL["dataset"] | {"limit": 0}, "dataset.limit: Input should be greater than"),
        ("dataset", MINIMAL["dataset"] | {"train": {"limit": 3}}, "dataset.train.file: is required"),
        ("dataset", MINIMAL["dataset"] | {"train": {"file": "a", "limit": -1}}, "dataset.train.limit: Input"),
        ("dataset", MINIMAL["dataset"] | {"train": ["a"]}, "dataset.train: must be a mapping"),
        ("passages", {"top_k": 0}, "passages.top_k: Input should be greater than or equal to 1 (found 0)"),
        ("passages", {"top_k": 101}, "passages.top_k: Input should be less than or equal to 100"),
        ("passages", {"top_k": True}, "passages.top_k: Input should be a valid integer (found true)"),
        ("passages", {"token_budget": 0}, "passages.token_budget: Input should be greater than"),
        ("passages", {"min_score": float("nan")}, "passages.min_score: Input should be a finite number"),
        ("passages", {"source": "jsonl"}, "passages: source jsonl needs a path"),
        ("passages", {"packages": []}, "passages: source installed needs at least one package"),
        ("passages", {"method": "sparse"}, "passages.method: Input should be 'dense'"),
        ("teacher", "vllm", "teacher.backend: Input should be 'openai', 'embedded' or 'replay' (found"),
        ("teacher", {}, "teacher.backend: is required"),
        ("teacher", {"backend": "openai"}, "teacher: backend openai needs a model"),
        (
            "teacher",
            {"backend": "embedded", "delivery": "batch"},
            "teacher: delivery batch needs backend openai",
        ),
        ("teacher", OPENAI | {"delivery": "pigeon"}, "teacher.delivery: Input should be 'direct' or 'batch'"),
        (
            "teacher",
            OPENAI | {"base_url": "http://me:hidden@server/v1"},
            "teacher.base_url: holds a user or a password; put the key into the variable of api_key_env",
        ),
        ("teacher", OPENAI | {"timeout": 0}, "teacher.timeout: Input should be greater than 0"),
        ("teacher", OPENAI | {"timeout": float("inf")}, "teacher.timeout: Input should be a finite number"),
        ("teacher", OPENAI | {"max_concurrency": 0}, "teacher.max_concurrency: Input should"),
        ("teacher", OPENAI | {"price": {"input": -0.1}}, "teacher.price.input: Input should be"),
        ("teacher", OPENAI | {"params": {"n": 2, "stream": True}}, "teacher.params: n, stream cannot be"),
        (
            "teacher",
            OPENAI | {"params": {"temperature": float("nan")}},
            "teacher.params: takes texts, finite",
        ),
        (
            "teacher",
            OPENAI | {"params": {"a": [{"b": float("-inf")}]}},
            "teacher.params: takes texts, finite",
        ),
        ("students", [], "students: List should have at least 1 item"),
        ("students", "embedded", "students: Input should be a valid list"),
        (
            "students",
            ["embedded", "embedded"],
            "students: two are named student; give each a name of its own",
        ),
        ("students", ["embedded", "server"], "students.1: backend server needs a model and a base_url"),
        ("students", ["embedded", {"backend": "embedded", "name": "a b"}], "students.1.name: String should"),
        (
            "students",
            [{"backend": "transformers", "model": "m", "timeout": 30}],
            "students.0: backend transformers runs in the worker and knows no timeout; leave it out",
        ),
        ("students", [{"backend": "vllm", "model": "m", "timeout": 30}], "students.0: backend vllm runs in"),
        ("augment", {"batch_size": 0}, "augment.batch_size: Input should be greater than or equal to 1"),
        ("augment", {"params": {"model": "other"}}, "augment.params: model cannot be set as a parameter"),
        ("augment", {"seeds": [{"request": "r"}]}, "augment.seeds.0.augmentation: is required"),
        ("rationale", None, "rationale: must be a mapping of keys to values"),
        ("rationale", {"passes": 11}, "rationale.passes: Input should be less than or equal to 10"),
        ("rationale", {"retries": -1}, "rationale.retries: Input should be greater than or equal to 0"),
        (
            "rationale",
            {"correctness": "loose"},
            "rationale.correctness: Input should be 'paper', 'strict', ",
        ),
        ("rationale", {"samples": 0}, "rationale.samples: Input should be greater than or equal to 1"),
        ("rationale", {"samples": 65}, "rationale.samples: Input should be less than or equal to 64"),
        ("rationale", {"stop_at": 0}, "rationale.stop_at: Input should be greater than or equal to 1"),
        ("rationale", {"passes": 1, "stop_at": 3}, "rationale: stop_at 3 needs at least 2 passes"),
        ("rationale", {"vote": "best"}, "rationale.vote: Input should be 'majority' (found"),
        ("rationale", {"params": {"messages": []}}, "rationale.params: messages cannot be set"),
        ("grid", {"shots": []}, "grid.shots: needs at least one value (found [])"),
        ("grid", {"shots": [2, 0, 2]}, "grid.shots: names a value twice (found [2, 0, 2])"),
        ("grid", {"shots": [65]}, "grid.shots.0: Input should be less than or equal to 64 (found 65)"),
        ("grid", {"shots": [-1]}, "grid.shots.0: Input should be greater than or equal to 0"),
        ("grid", {"shots": 2}, "grid.shots: Input should be a valid list (found 2)"),
        (
            "grid",
            {"retrieval": [1]},
            "grid.retrieval.0: takes false, true, or a name from passages.alternatives",
        ),
        (
            "grid",
            {"retrieval": ["maybe"]},
            "grid: retrieval names maybe, which passages.alternatives does not",
        ),
        ("grid", {"rationale": ["none", "none"]}, "grid.rationale: names a value twice"),
        ("grid", {"exemplars": "best"}, "grid.exemplars.0: Input should be 'random', 'fixed'"),
        ("grid", {"exemplars": ["fixed", "fixed"]}, "grid.exemplars: names a value twice"),
        ("grid", {"seeds": [0.5]}, "grid.seeds.0: Input should be a valid integer (found 0.5)"),
        ("grid", {"shots": [0], "rationale": ["star"]}, "grid: rationales are shown in exemplars:"),
        ("judge", {"extraction": "best"}, "judge.extraction: Input should be 'paper', 'strict' or 'module'"),
        ("judge", {"execution": "yes"}, "judge.execution: Input should be a valid boolean (found"),
        ("judge", {"limits": {"cpu_seconds": 0}}, "judge.limits.cpu_seconds: Input should be greater than"),
        ("judge", {"limits": {"memory_mb": 1}}, "judge.limits.memory_mb: Input should be greater than or"),
        ("units_per_task", {"judge": 0}, "units_per_task.judge: Input should be greater than or equal to 1"),
    ],
)
def test_impossible_value_is_named(tmp_path: Path, section: str, value: Any, says: str) -> None:
    message = refusal(tmp_path, MINIMAL | {section: value})
    assert message.startswith(says)
    assert "hidden" not in message


@pytest.mark.parametrize(
    ("path", "near"),
    [
        (["grids"], "grid"),
        (["dataset", "pth"], "path"),
        (["dataset", "fields", "requests"], "request"),
        (["dataset", "train", "limits"], "limit"),
        (["passages", "topk"], "top_k"),
        (["passages", "alternatives", "bm25", "methd"], "method"),
        (["passages", "alternatives", "bm25", "weights", "symbol"], "symbols"),
        (["teacher", "modell"], "model"),
        (["teacher", "price", "inputs"], "input"),
        (["students", 1, "base_ur"], "base_url"),
        (["students", 0, "price", "out_put"], "output"),
        (["augment", "enable"], "enabled"),
        (["rationale", "pass"], "passes"),
        (["grid", "shot"], "shots"),
        (["judge", "extract"], "extraction"),
        (["units_per_task", "answers"], "answer"),
    ],
)
def test_unknown_key_is_named_at_every_depth(tmp_path: Path, path: list[Any], near: str) -> None:
    config: Any = yaml.safe_load(yaml.safe_dump(MINIMAL))
    config["dataset"]["train"] = {"file": "train.jsonl"}
    config["teacher"] = {"backend": "embedded"}
    config["students"] = [{"backend": "embedded"}, {"backend": "embedded", "name": "second"}]
    section = config
    for key in path[:-1]:
        section = section.setdefault(key, {}) if isinstance(section, dict) else section[key]
    section[path[-1]] = 1
    assert refusal(tmp_path, config) == f"{'.'.join(map(str, path))}: unknown key; did you mean {near}?"


@pytest.mark.parametrize(
    ("passages", "says"),
    [
        (
            {"b": {}},
            "passages: alternatives.b is the same as passages itself, which grid.retrieval calls true;",
        ),
        ({"b": {"top_k": 3}}, "passages: alternatives.b is the same as passages itself"),
        (
            {"b": {"top_k": 1}, "c": {"top_k": 1}},
            "passages: alternatives.c is the same as alternatives.b; change a key, or remove it",
        ),
        (
            {"b": {"encoder": "other"}},
            "passages.alternatives.b: cannot change encoder: another corpus or encoder needs an",
        ),
        ({"b": {"source": "installed"}}, "passages.alternatives.b: cannot change source: another corpus or"),
        ({"b": {"alternatives": {}}}, "passages.alternatives.b.alternatives: unknown key; known are control"),
        ({"b": None}, "passages.alternatives.b: must be a mapping of keys to values"),
        ({"b": {"method": "sparse"}}, "passages.alternatives.b.method: Input should be 'dense'"),
        (
            {"star": {"top_k": 1}},
            "passages.alternatives.star: star means something else in the names of cells",
        ),
        ({"a/b": {"top_k": 1}}, "passages.alternatives.a/b: String should match pattern"),
        ({"b" * 33: {"top_k": 1}}, f"passages.alternatives.{'b' * 33}: String should match pattern"),
    ],
)
def test_impossible_alternative_is_named(tmp_path: Path, passages: Any, says: str) -> None:
    assert refusal(tmp_path, MINIMAL | {"passages": {"alternatives": passages}}).startswith(says)


def test_alternatives_are_checked_with_the_keys_that_they_share(tmp_path: Path) -> None:
    short = {"form": "signature"}
    passages = {"labelled": False, "alternatives": {"short": short}}
    message = refusal(tmp_path, MINIMAL | {"passages": passages})
    assert message.startswith(
        "passages: alternatives.short: form signature shows labels alone; set labelled: true"
    )
    passages = {"labelled": False, "alternatives": {"short": short | {"labelled": True}}}
    assert load(tmp_path, MINIMAL | {"passages": passages}).passages.named("short").form == "signature"


def test_a_misspelt_alternative_has_a_neighbour(tmp_path: Path) -> None:
    passages = {"alternatives": {"bm25": {"method": "bm25"}}}
    message = refusal(tmp_path, MINIMAL | {"passages": passages, "grid": {"retrieval": [True, "bm52"]}})
    assert "did you mean bm25?" in message


def test_an_alternative_is_the_section_with_other_keys(tmp_path: Path) -> None:
    passages = {"top_k": 5, "weights": {"bm25": 0.5}, "alternatives": {"short": {"form": "signature"}}}
    config = MINIMAL | {"passages": passages, "grid": {"retrieval": [False, "short"]}}
    experiment = load(tmp_path, config)
    base, short = experiment.passages.named("retrieval"), experiment.passages.named("short")
    assert base == experiment.passages
    assert short.model_dump(exclude={"form"}) == base.model_dump(exclude={"form", "alternatives"}) | {
        "alternatives": {}
    }
    assert (base.form, short.form, short.weights.bm25) == ("full", "signature", 0.5)


def test_a_frozen_alternative_holds_what_differs_alone(tmp_path: Path) -> None:
    passages = {
        "alternatives": {"b": {"method": "bm25"}, "c": {"top_k": 1, "min_score": None, "order": "best_last"}}
    }
    experiment = load(tmp_path, MINIMAL | {"passages": passages, "grid": {"retrieval": [True, "c"]}})
    frozen = experiment.model_dump(mode="json")
    assert frozen["passages"]["alternatives"] == passages["alternatives"]
    assert frozen["grid"]["retrieval"] == [True, "c"]
    assert Experiment.model_validate(frozen) == experiment


def test_runs_of_earlier_releases_load() -> None:
    """A frozen configuration from before there were alternatives."""
    passages = {"source": "installed", "path": None, "packages": ["stdlib"], "encoder": "minilm",
                "method": "dense", "top_k": 2, "token_budget": 80, "min_score": None}  # fmt: skip
    loaded = Experiment.model_validate(MINIMAL | {"passages": passages, "grid": {"retrieval": [False, True]}})
    assert loaded.passages.named("retrieval").token_budget == 80
    assert [cell.name for cell in cells(loaded)][:2] == ["student/0-shot", "student/0-shot/retrieval"]


def test_unknown_key_without_a_neighbour_lists_the_known(tmp_path: Path) -> None:
    known = "correctness, execution, extraction, limits, metrics, model"
    assert refusal(tmp_path, MINIMAL | {"judge": {"xyz": 1}}) == f"judge.xyz: unknown key; known are {known}"


@pytest.mark.parametrize("key", list(MINIMAL))
def test_missing_section_is_named(tmp_path: Path, key: str) -> None:
    rest = {name: value for name, value in MINIMAL.items() if name != key}
    assert refusal(tmp_path, rest) == f"{key}: is required"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a b/c", "a-b-c"), ("gpt-4o.mini_x", "gpt-4o.mini_x"), ("//", "unnamed"), ("é", "unnamed")],
)
def test_slug_is_safe_in_names(text: str, expected: str) -> None:
    assert slug(text) == expected
