"""The experiment of a load: its train examples are augmented, and only that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from models.core.experiment.experiment import Experiment
from models.core.types import Example
from storage.schema import TEST, TRAIN
from tests.bench.load import Load, request_of
from tests.support.task_folders import conala, seeds

QUEUE = "model.teacher"


def experiment(load: Load, url: str, **sections: Any) -> Experiment:
    endpoint = {"model": "teacher", "base_url": url, "max_concurrency": load.concurrency}
    config: dict[str, Any] = {
        "name": "bench",
        "dataset": {"path": ".", "train": "train.jsonl", "test": "test.jsonl"},
        "passages": {"source": "jsonl", "path": "passages.jsonl"},
        "teacher": {"backend": "openai", **endpoint, **load.teacher},
        "students": [{"backend": "server", **endpoint}],
        "task": conala(),
        "augment": {"seeds": seeds("augmentations")},
        "rationale": {"passes": 0},
        "grid": {"shots": [0], "retrieval": [False], "rationale": ["none"]},
    }
    return Experiment.model_validate(config | load.sections | sections)


def splits(train: int, word: str = "table") -> dict[str, Sequence[Example]]:
    return {TRAIN: examples(train, word), TEST: examples(1, "test")}


def examples(count: int, word: str) -> list[Example]:
    return [Example(row, str(row), request_of(row, word), f"sorted({word})", ()) for row in range(count)]


def where_known(section: type[BaseModel], **values: Any) -> dict[str, Any]:
    """Return the settings that this release has."""
    return {name: value for name, value in values.items() if name in section.model_fields}
