"""The task folder conala asks, to the byte, what was asked before there were task folders: golden/conala.json
was written by the code of then. An answer that was bought once is not bought again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from models.core.experiment.experiment import Experiment
from models.core.prompts.rendering import PromptRenderer, apply_format
from models.core.retrieval.passage_selection import format_passages
from models.core.types import Exemplar, Passage, Request
from producer.experiments.load import PRESETS, load_experiment
from tests.support.chores import read_jsonl
from worker.few_shot import augmentation_seeds, rationale_seeds
from worker.requests import chat, to_student

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "conala.json").read_text())
JOIN = Passage("os.path.join", "os.path.join", "(a, /, *p)", "Join two or more path components.")
BARE = Passage("", "", "", "Some text\nof two lines with {braces} and {{ more }}.")
NAMED = Passage("x", "Admin actions", ">>> from m import f", "Select & <change>.")
SHOWN: dict[str, tuple[Passage, ...]] = {"none": (), "one": (JOIN,), "three": (JOIN, BARE, NAMED)}


def asked(experiment: Experiment) -> dict[str, Request]:
    """Every kind of request of the experiment, with much and little in it."""
    assert experiment.task
    wording, passages_config = PromptRenderer(experiment.task), experiment.passages
    rows = read_jsonl(PRESETS / "demo" / "train.jsonl")[:4]
    seeds, worked_seeds = augmentation_seeds(experiment.augment), rationale_seeds(experiment.rationale)
    teacher = experiment.teacher

    def ask(messages: Any, params: dict[str, Any], draw: tuple[int, int]) -> Request:
        return chat(teacher, messages, {**teacher.params, **params}, draw)

    requests = {"augment/together": ask(wording.augmentations([row["request"] for row in rows], seeds),
                                     experiment.augment.params, (0, 0))}  # fmt: skip
    worked = [
        Exemplar(row["request"], row["reference"], f"Why. The answer is {row['reference']}" * (index % 2),
                 format_passages((JOIN, BARE)[:index], passages_config))
        for index, row in enumerate(rows)
    ]  # fmt: skip
    for number, row in enumerate(rows):
        request, reference = row["request"], row["reference"]
        requests[f"augment/{number}"] = ask(
            wording.augmentation(request, seeds), experiment.augment.params, (0, 0)
        )
        for name, passages in SHOWN.items():
            shown = format_passages(passages, passages_config)
            exemplars = [
                Exemplar(
                    seed.request, seed.answer, seed.rationale, format_passages(seed.passages, passages_config)
                )
                for seed in worked_seeds[number : number + 2]
            ]
            for hint in (None, reference):
                for style in ("paper", "explain"):
                    case = f"rationale/{number}/{name}/{style}/{'hinted' if hint else 'plain'}"
                    messages = wording.rationale(request, shown, exemplars, hint, style)
                    requests[case] = ask(messages, experiment.rationale.params, (1, 0))
            for shots in (0, 1, 3):
                text = wording.student_prompt(request, shown, worked[:shots])
                for student in experiment.students:
                    for form in ("raw", "chatml", "alpaca", "chat"):
                        case = f"answer/{number}/{name}/{shots}/{student.name}/{form}"
                        put = apply_format(form, text, experiment.task.stop)
                        requests[case] = to_student(student, put, (0, 0))
    return requests


def paper_of_then() -> Experiment:
    """The preset of then, which asked for rationales in the words and with the seeds of the task folder."""
    paper = load_experiment("conala-paper", ["teacher.params.max_tokens=1024", "augment.params={}"])
    folder = load_experiment("conala")
    rationale = paper.rationale.model_copy(update={"seeds": folder.rationale.seeds})
    return paper.model_copy(update={"task": folder.task, "rationale": rationale})


def test_requests_are_those_of_before() -> None:
    preset = "conala-paper"
    requests = asked(paper_of_then())
    for name, body in GOLDEN["bodies"].items():
        assert requests[name.removeprefix(f"{preset}/")].body() == body
    for stage in ("augment", "rationale", "answer"):
        keys = [request.key for name, request in requests.items() if name.startswith(stage)]
        digest = hashlib.sha256("\n".join(keys).encode()).hexdigest()
        assert {"requests": len(keys), "sha256": digest} == GOLDEN["keys"][f"{preset}/{stage}"]
