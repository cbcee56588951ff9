"""The graph of stages: the units of each example, their queues, and the steps that each waits for.

train   [augment ->] [retrieve ->] rationale -> rationalize pass 1 -> ... -> pass N
                                   (samples 0 ... n -> vote)
                                -> the same in round 2, 3, ...
                                   ^
        barrier: every unit of the round before is final
                -> retrieve, for each other search whose cells show exemplars
      retrieve the request's own vector, where exemplars are chosen by it (in test, too)
        or, where requests are grown, nothing but
        grow (samples 0 ... n), and the same in round 2, 3, ...
test    [augment ->] [retrieve ->] answer -> judge
                                   ^
        barrier: every train unit is final (cells that show synthetic exemplars)
        or, of a student whose answers are recorded by cell, answer -> judge
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from models.core.experiment.endpoints import queue_of
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import BASE
from models.core.pipeline.graph import Slot, Step
from models.core.pipeline.grid import Cell, Searches, cells, prompted_cells
from models.core.pipeline.rounds import SAMPLE, in_round, pass_name, rationale_names

Stage = Literal["grow", "augment", "retrieve", "rationale", "rationalize", "answer", "judge"]
# The stages of the pipeline `star` in their order, each with those whose results it reads.
STAGE_INPUTS: Mapping[Stage, tuple[Stage, ...]] = {
    "grow": (),
    "augment": (),
    "retrieve": ("augment",),
    "rationale": ("augment", "retrieve"),
    "rationalize": ("augment", "retrieve"),
    "answer": ("augment", "retrieve"),
    "judge": ("answer",),
}
STAGES: tuple[Stage, ...] = tuple(STAGE_INPUTS)
# Wordings of a request, which name the searches of the section `passages`.
WORDINGS = ("raw", "augmented")
BARRIER: Step = ("barrier", "", 0)
# The name of the unit that records the vector of a request.
VECTOR = "vector"


def train_slots(experiment: Experiment) -> list[Slot]:
    if experiment.grow.enabled:
        return _grow_slots(experiment)
    slots = []
    if experiment.augment.enabled:
        slots.append(Slot("augment", "", _teacher_queue(experiment)))
    before = tuple(slot.step for slot in slots)
    grid = prompted_cells(experiment)
    if experiment.passages and (experiment.makes_rationales or any(cell.shots for cell in grid)):
        searches, wording = Searches.read(experiment.passages), train_wording(experiment)
        retrievals = {BASE, *(cell.retrieval for cell in grid if cell.retrieval and cell.shots)}
        names = {searches.unit_name(wording, retrieval) for retrieval in retrievals}
        slots += [Slot("retrieve", name, "retrieve", before) for name in sorted(names)]
        before = (("retrieve", wording, 0),)
    if any(cell.exemplars in ("nearest", "diverse") for cell in grid):
        slots.append(Slot("retrieve", VECTOR, "retrieve"))
    if experiment.makes_rationales:
        for number in range(1, experiment.rationale.rounds + 1):
            slots += _round_slots(experiment, number, before)
    return slots


def _teacher_queue(experiment: Experiment) -> str:
    return experiment.model("teacher").queue


def _rationale_queue(experiment: Experiment) -> str:
    """Return the queue of units that ask the teacher and, if the rule says so, a judge model."""
    judge = experiment.judge.model if experiment.rationale.correctness == "model" else None
    return queue_of(experiment.model("teacher"), *([judge] if judge else []))


def _judge_queue(experiment: Experiment) -> str:
    """Return `judge`, or the queue of the judge model if that runs in a worker."""
    judge = experiment.judge.model if experiment.judge.correctness == "model" else None
    return judge.queue if judge and judge.runs_in_worker else "judge"


def round_barrier(number: int) -> Step:
    """Return the step that the first units of a later round wait for."""
    return ("barrier", in_round(number), 0)


def round_count(experiment: Experiment) -> int:
    return experiment.grow.rounds if experiment.grow.enabled else experiment.rationale.rounds


def units_of_round(experiment: Experiment, number: int) -> dict[Stage, Sequence[str]]:
    """Return the variants of all units of a round by stage."""
    if experiment.grow.enabled:
        return {"grow": [in_round(number)]}
    names = rationale_names(number)
    return {"rationale": [*names, in_round(number, SAMPLE)], "rationalize": names}


def round_start(experiment: Experiment, number: int) -> tuple[Stage, str]:
    """Return stage and variant of the units that a round begins with."""
    if experiment.grow.enabled:
        return "grow", in_round(number)
    return "rationale", in_round(number, SAMPLE if experiment.rationale.samples > 1 else "")


def train_wording(experiment: Experiment) -> str:
    """Return the wording of train requests that is searched for and reasoned about."""
    return "augmented" if experiment.augment.enabled else "raw"


def _round_slots(experiment: Experiment, number: int, before: tuple[Step, ...]) -> list[Slot]:
    """Return a rationale, or several and the vote on them, which asks no model; then the passes."""
    teacher = _rationale_queue(experiment)
    after = before if number == 1 else (*before, round_barrier(number))
    samples = range(experiment.rationale.samples)
    slots = [Slot(*round_start(experiment, number), teacher, after, sample) for sample in samples]
    if len(slots) > 1:
        drawn = tuple(slot.step for slot in slots)
        slots.append(Slot("rationale", in_round(number), "judge", drawn, gathers=True))
    for each in range(1, experiment.rationale.passes + 1):
        slots.append(Slot("rationalize", pass_name(number, each), teacher, (slots[-1].step,)))
    return slots


def _grow_slots(experiment: Experiment) -> list[Slot]:
    config, teacher = experiment.grow, _teacher_queue(experiment)
    return [
        Slot("grow", in_round(number), teacher, () if number == 1 else (round_barrier(number),), sample)
        for number in range(1, config.rounds + 1)
        for sample in range(config.samples)
    ]


def eval_slots(experiment: Experiment) -> list[Slot]:
    slots = []
    grid = prompted_cells(experiment)
    if any(cell.augment_test for cell in grid):
        slots.append(Slot("augment", "", _teacher_queue(experiment)))
    searches = Searches.read(experiment.passages)
    names = {
        (searches.unit_name(cell.wording, cell.retrieval), cell.augment_test)
        for cell in grid
        if cell.retrieval
    }
    for name, augmented in sorted(names):
        slots.append(Slot("retrieve", name, "retrieve", (("augment", "", 0),) if augmented else ()))
    if any(cell.exemplars == "nearest" for cell in grid):
        slots.append(Slot("retrieve", VECTOR, "retrieve"))
    for cell in cells(experiment):
        after = _read_by_answer(cell, searches) if cell in grid else ()
        together = cell.exemplars in ("fixed", "diverse")
        student, judge = experiment.student(cell.student).queue, _judge_queue(experiment)
        for sample in range(len(experiment.grid.seeds)):
            answer = Slot("answer", cell.name, student, after, sample, together=together)
            slots += [answer, Slot("judge", cell.name, judge, (answer.step,), sample, together=together)]
    return slots


def _read_by_answer(cell: Cell, searches: Searches) -> tuple[Step, ...]:
    """Return the steps that an answer waits for."""
    after: list[Step] = []
    if cell.retrieval:
        after.append(("retrieve", searches.unit_name(cell.wording, cell.retrieval), 0))
    elif cell.augment_test:
        after.append(("augment", "", 0))
    if cell.exemplars == "nearest":
        after.append(("retrieve", VECTOR, 0))
    if cell.shots:
        after.append(BARRIER)
    return tuple(after)
