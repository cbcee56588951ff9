"""Shipped experiments plan, ask and are recognised as in earlier releases, which wrote PLANS. So runs go on,
and no answer is bought again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from models.core.experiment.experiment import Experiment
from models.core.pipeline.plan import planned_slots
from models.core.prompts.rendering import PromptRenderer
from models.core.types import Exemplar, Passage
from producer.experiments.load import load_experiment, presets
from storage.ledger.runs import config_hash
from worker.few_shot import augmentation_seeds, rationale_seeds

# Units of a train and a test row together, and the first digits of three digests: of the units with what
# they wait for, of the run's identity, and of the prompts.
PLANS = {
    "conala-paper": (37, "0c6da22b08954f06", "a1cca2881ef3f308", "fff237ff7684eaa3"),
    "conala": (35, "4ccd33f00a5a4f52", "057a98fa5563717a", "fc8c9e3605dc1f0e"),
    # With a new one, its recording is made anew, too: see tests/demo_recording.py.
    "demo": (20, "0b1b6d5bce770152", "d85fceac489f1321", "4ee2ba628a8942d6"),
    "docqa": (16, "7d5037f0669c78c0", "f96b32ee93e045a1", "e739047f40015873"),
    "retrieval-ablation": (43, "4e2d768e2e6b5e61", "ba864dcbc3a4995a", "1f661db445fbf30a"),
    "tldr": (17, "b26ceaa3b0cda096", "423fa0d11c9d3520", "1ae5f9459877651a"),
}
PASSAGE = Passage("os.path.join", "os.path.join", "(a, /, *p)", "Join two or more path components.")


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def units(experiment: Experiment) -> list[Any]:
    return [
        [split, slot.stage, slot.variant, slot.sample, [list(step) for step in slot.after]]
        for split, slots in sorted(planned_slots(experiment).items())
        for slot in slots
    ]


def identity(experiment: Experiment) -> str:
    passages = experiment.passages
    assert passages
    anywhere = passages.model_copy(update={"path": Path(passages.path).name if passages.path else None})
    return config_hash(experiment.model_copy(update={"passages": anywhere}), "rows")[:16]


def prompts(experiment: Experiment) -> list[Any]:
    """The messages of every kind of call, with and without documentation, exemplars and hint."""
    assert experiment.task
    wording, worked = PromptRenderer(experiment.task), rationale_seeds(experiment.rationale)[:2]
    asked: list[Any] = []
    for passages in ((), (PASSAGE, PASSAGE)):
        shown = [Exemplar(each.request, "x", each.rationale, passages) for each in worked]
        for hint in (None, "a & b"):
            asked.append(wording.rationale("join `a`", passages, shown, hint, experiment.rationale.hint))
        asked.append(wording.student_prompt("join `a`", passages, [*shown, Exemplar("y", "z")]))
    if experiment.task.prompts.augment:
        asked.append(wording.augmentation("join `a`", augmentation_seeds(experiment.augment)))
        asked.append(wording.augmentations(["join", "sort"], augmentation_seeds(experiment.augment)))
    if experiment.task.prompts.verdict:
        asked.append(wording.verdict("join `a`", "x", "y"))
    asked.append(wording.growth([("join", "x")], 3))
    return [
        each if isinstance(each, str) else [[message.role, message.content] for message in each]
        for each in asked
    ]


def fingerprint(experiment: Experiment) -> tuple[int, str, str, str]:
    planned = units(experiment)
    return len(planned), digest(planned), identity(experiment), digest(prompts(experiment))


@pytest.mark.parametrize("name", PLANS)
def test_preset_plans_and_asks_what_it_did_before(name: str) -> None:
    assert fingerprint(load_experiment(name)) == PLANS[name]


def test_no_preset_is_gone() -> None:
    assert PLANS.keys() <= presets().keys()
