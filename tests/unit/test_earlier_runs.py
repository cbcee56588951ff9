"""The same experiment finds runs of earlier releases. The hashes were made by such a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.core.experiment.experiment import Experiment
from producer.experiments.load import load_experiment
from storage.ledger.runs import config_hash

CONFIG = json.loads(Path(__file__).with_name("golden").joinpath("earlier_config.json").read_text())
HASH = "b34d54a7f251baba47de9c434fc2c3ac1d82baa5ebb1fd16346d05008db2ed3c"
PRESETS = {
    "retrieval-ablation": "c0cc39f8c04f4c19709861a640ea16e37d9f6cfaf72d549ffe54798e2edc4357",
}


@pytest.mark.parametrize(("name", "expected"), PRESETS.items())
def test_a_preset_is_the_same_run_as_before(name: str, expected: str) -> None:
    assert config_hash(load_experiment(name), "data") == expected


def test_a_stored_configuration_loads_and_is_the_same_run() -> None:
    """It has a teacher that takes batches, a student in the worker, one with replicas, and a judge model."""
    stored = Experiment.model_validate(CONFIG)
    assert config_hash(stored, "data") == HASH
    assert config_hash(Experiment.model_validate(stored.model_dump(mode="json")), "data") == HASH


@pytest.mark.parametrize(
    ("role", "settings"),
    [
        ("teacher", {"headers": {"X-Team": "red"}}),
        ("teacher", {"prompt_format": "alpaca"}),
        ("teacher", {"max_model_len": 4096}),
        ("students", {"engine": {"lora": "/adapters/a"}}),
        ("students", {"engine": {"max_num_batched_tokens": 512}}),
    ],
)
def test_what_changes_answers_makes_another_run(role: str, settings: dict[str, Any]) -> None:
    config = json.loads(json.dumps(CONFIG))
    block = config["teacher"] if role == "teacher" else config["students"][0]
    for key, value in settings.items():
        block[key] = block[key] | value if key == "engine" else value
    assert config_hash(Experiment.model_validate(config), "data") != HASH


def test_what_steers_an_engine_makes_no_other_run() -> None:
    config = json.loads(json.dumps(CONFIG))
    config["students"][0]["engine"] |= {"data_parallel_size": 2, "max_loras": 4, "max_num_seqs": 8}
    assert config_hash(Experiment.model_validate(config), "data") == HASH


def test_a_model_of_another_server_names_no_key_any_more_and_is_the_same_run() -> None:
    config = json.loads(json.dumps(CONFIG))
    teacher = config["teacher"] | {"base_url": "http://server/v1"}
    earlier = Experiment.model_validate(config | {"teacher": teacher})
    del teacher["api_key_env"]
    today = Experiment.model_validate(config | {"teacher": teacher})
    assert earlier.teacher
    assert today.teacher
    assert (earlier.teacher.api_key_env, today.teacher.api_key_env) == ("OPENAI_API_KEY", "")
    assert config_hash(today, "data") == config_hash(earlier, "data")
