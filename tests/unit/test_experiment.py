"""An experiment is valid, or one line says what is wrong with it, where, and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from models.core.experiment.endpoints import EMBEDDED_MODEL, slug
from models.core.experiment.experiment import Experiment
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
        ("name", None, "name: takes a name of up to 64 letters, digits, '.', '_' and '-', which"),
        ("name", "a/b", "name: takes a name of up to 64 letters, digits, '.', '_' and '-', which"),
        ("name", "", "name: takes a name of up to 64 letters, digits, '.', '_' and '-', which"),
        ("name", "a\n", "name: takes a name of up to 64 letters, digits, '.', '_' and '-', which"),
        ("name", "x" * 65, "name: takes a name of up to 64 letters, digits, '.', '_' and '-', which"),
        ("seed", True, "seed: takes a whole number, found true"),
        ("seed", 1.5, "seed: takes a whole number, found the number 1.5"),
        ("seed", "one", 'seed: takes a whole number, found the text "one"'),
        ("dataset", {"path": "d", "test": "t"}, "dataset.train: is required"),
        ("dataset", MINIMAL["dataset"] | {"train": {"limit": 3}}, "dataset.train.file: is required"),
        ("passages", {"top_k": 0}, "passages.top_k: takes a whole number from 1 to 100, found the number 0"),
        (
            "passages",
            {"top_k": 101},
            "passages.top_k: takes a whole number from 1 to 100, found the number 101",
        ),
        ("passages", {"top_k": True}, "passages.top_k: takes a whole number from 1 to 100, found true"),
        ("passages", {"source": "jsonl"}, "passages: source jsonl needs a path"),
        ("passages", {"packages": []}, "passages: source installed needs at least one package"),
        (
            "passages",
            {"method": "sparse"},
            "passages.method: takes dense, bm25, fusion, weighted or learned, found",
        ),
        ("teacher", "oracle", "teacher.backend: takes openai, server, embedded, vllm, transformers or"),
        ("teacher", "vllm", "teacher: backend vllm needs a model: a folder, or a name that the hub knows"),
        ("models", {"critic": "server"}, "models.critic: backend server needs a model and a base_url"),
        ("teacher", {}, "teacher.backend: is required"),
        ("teacher", {"backend": "openai"}, "teacher: backend openai needs a model"),
        (
            "teacher",
            {"backend": "embedded", "delivery": "batch"},
            "teacher: delivery batch needs backend openai",
        ),
        (
            "teacher",
            OPENAI | {"base_url": "http://me:hidden@server/v1"},
            "teacher.base_url: holds a user or a password; put the key into the variable of api_key_env",
        ),
        (
            "teacher",
            OPENAI | {"headers": {"api-key": "123"}},
            "teacher.headers: api-key would put a secret into the ledger; put it into an environment",
        ),
        ("teacher", OPENAI | {"headers": {"X-A": "Bearer 1"}}, "teacher.headers: X-A would put a secret"),
        ("teacher", OPENAI | {"query": {"sig": "a"}}, "teacher.query: sig would put a secret into the"),
        ("teacher", OPENAI | {"headers": {"X-A": "a\nb"}}, "teacher.headers: X-A holds a character that"),
        ("teacher", OPENAI | {"headers": {"Host": "a"}}, "teacher.headers: Host cannot be set as a header"),
        ("teacher", OPENAI | {"headers": {"a b": "a"}}, "teacher.headers: a b cannot be set as a header"),
        (
            "teacher",
            {"backend": "embedded", "query": {"a": "b"}},
            "teacher: headers and query belong to the backends openai and server",
        ),
        ("teacher", OPENAI | {"timeout": 0}, "teacher.timeout: takes a number above 0, found the number 0"),
        (
            "teacher",
            OPENAI | {"timeout": float("inf")},
            "teacher.timeout: takes a number above 0, found inf, which is not finite",
        ),
        ("teacher", OPENAI | {"params": {"n": 2, "stream": True}}, "teacher.params: n, stream cannot be"),
        ("students", "embedded", 'students: takes a list, found the text "embedded"; write it in'),
        (
            "students",
            ["embedded", "embedded"],
            "students: two are named student; give each a name of its own",
        ),
        ("students", ["embedded", "server"], "students.1: backend server needs a model and a base_url"),
        (
            "students",
            ["embedded", {"backend": "embedded", "name": "a b"}],
            "students.1.name: takes a name of up to 64 letters, digits, '.', '_' and",
        ),
        (
            "students",
            [{"backend": "transformers", "model": "m", "timeout": 30}],
            "students.0: backend transformers runs in the worker and knows no timeout; leave it out",
        ),
        ("students", [{"backend": "vllm", "model": "m", "timeout": 30}], "students.0: backend vllm runs in"),
        ("augment", {"params": {"model": "other"}}, "augment.params: model cannot be set as a parameter"),
        ("augment", {"seeds": [{"request": "r"}]}, "augment.seeds.0.augmentation: is required"),
        ("rationale", {"passes": 1, "stop_at": 3}, "rationale: stop_at 3 needs at least 2 passes"),
        ("rationale", {"params": {"messages": []}}, "rationale.params: messages cannot be set"),
        ("grid", {"shots": []}, "grid.shots: needs at least one value, found the list []"),
        ("grid", {"shots": [2, 0, 2]}, "grid.shots: names a value twice, found the list [2, 0, 2]"),
        ("grid", {"shots": [65]}, "grid.shots.0: takes a whole number from 0 to 64, found the number 65"),
        ("grid", {"shots": [-1]}, "grid.shots.0: takes a whole number from 0 to 64, found the number -1"),
        (
            "grid",
            {"retrieval": ["maybe"]},
            "grid: retrieval names maybe, which passages.alternatives does not",
        ),
        ("grid", {"rationale": ["none", "none"]}, "grid.rationale: names a value twice"),
        ("grid", {"exemplars": ["fixed", "fixed"]}, "grid.exemplars: names a value twice"),
        ("grid", {"shots": [0], "rationale": ["star"]}, "grid: rationales are shown in exemplars:"),
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
        ({"b": {"alternatives": {}}}, "passages.alternatives.b.alternatives: unknown key; it belongs under"),
        ({"b": None}, "passages.alternatives.b: takes a mapping of keys to values, found nothing"),
        (
            {"b": {"method": "sparse"}},
            "passages.alternatives.b.method: takes dense, bm25, fusion, weighted or",
        ),
        (
            {"star": {"top_k": 1}},
            "passages.alternatives.star: star means something else in the names of cells",
        ),
        ({"a/b": {"top_k": 1}}, "passages.alternatives.a/b: takes a name of up to 32 letters, digits,"),
        ({"b" * 33: {"top_k": 1}}, f"passages.alternatives.{'b' * 33}: takes a name of up to 32 letters"),
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


@pytest.mark.parametrize(
    ("key", "says"),
    [("name", "name: is required"), ("dataset", "has no rows; set data to a file of them")],
)
def test_missing_section_is_named(tmp_path: Path, key: str, says: str) -> None:
    rest = {name: value for name, value in MINIMAL.items() if name != key}
    assert refusal(tmp_path, rest) == says


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a b/c", "a-b-c"), ("gpt-4o.mini_x", "gpt-4o.mini_x"), ("//", "unnamed"), ("é", "unnamed")],
)
def test_slug_is_safe_in_names(text: str, expected: str) -> None:
    assert slug(text) == expected
