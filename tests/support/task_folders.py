"""The shipped task folder conala, for experiments that a test makes by hand."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from models.core.experiment.task_folder import TaskFolder
from models.core.prompts.rendering import PromptRenderer
from producer.experiments.task_folders import SHIPPED, read_task
from storage.jsonl import read_objects

CONALA = SHIPPED / "conala"


@lru_cache(maxsize=1)
def conala() -> TaskFolder:
    return TaskFolder.model_validate(read_task(CONALA)[0])


def wording() -> PromptRenderer:
    return PromptRenderer(conala())


def seeds(of: str) -> list[dict[str, Any]]:
    """`augmentations` or `rationales`, as an experiment holds them."""
    return [row for _, row in read_objects(CONALA / f"{of}.jsonl")]


def augmentation_pairs() -> list[tuple[str, str]]:
    return [(seed["request"], seed["augmentation"]) for seed in seeds("augmentations")]
