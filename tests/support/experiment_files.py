"""Experiment files for tests, and what is said about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from models.core.errors import UsageError
from models.core.experiment.experiment import Experiment
from producer.experiments.load import load_experiment

MINIMAL: dict[str, Any] = {
    "name": "mine",
    "dataset": {"path": "data", "train": "train.jsonl", "test": "test.jsonl"},
    "passages": {},
    "teacher": "embedded",
    "students": ["embedded"],
}

EXPLAIN: dict[str, Any] = {
    "name": "explain",
    "data": "rows.csv",
    "models": {
        "teacher": {"backend": "openai", "model": "gpt-5-mini"},
        "critic": {"backend": "openai", "model": "gpt-5"},
        "small": "embedded",
    },
    "steps": {"explain": {"prompt": "Explain in one sentence: {{ question }}"}},
}
NAMED = {key: EXPLAIN[key] for key in ("name", "data", "models")}


def with_steps(**steps: Any) -> dict[str, Any]:
    """Return the experiment of steps with these in place of its own."""
    return EXPLAIN | {"steps": steps}


def load(folder: Path, config: Any, *overrides: str) -> Experiment:
    path = folder / "mine.yaml"
    path.write_text(
        config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False), encoding="utf-8"
    )
    return load_experiment(str(path), overrides)


def refusal(folder: Path, config: Any, *overrides: str) -> str:
    """Return the error message about the experiment, without the name of the file."""
    with pytest.raises(UsageError) as error:
        load(folder, config, *overrides)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    return message.removeprefix(f"{folder / 'mine.yaml'}: ")
