"""The graph of stages: the units of each example, their queues, and the steps that each waits for.

train   augment -> retrieve -> rationale -> rationalize pass 1 -> ... -> pass N
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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.core.experiment.experiment import Experiment
from models.core.experiment.options import Grow
from models.core.experiment.passages import BASE
from models.core.pipeline.grid import Searches, cells
from models.core.pipeline.rounds import SAMPLE, in_round, pass_name, rationale_names

Stage = Literal["grow", "augment", "retrieve", "rationale", "rationalize", "answer", "judge"]
STAGES: tuple[Stage, ...] = ("grow", "augment", "retrieve", "rationale", "rationalize", "answer", "judge")
# Stage, variant and sample of a unit. The variant names a cell, a search, or a rationale of a round.
Step = tuple[str, str, int]
# Wordings of a request, which name the searches of the section `passages`.
WORDINGS = ("raw", "augmented")
BARRIER: Step = ("barrier", "", 0)
# The name of the unit that records the vector of a request.
VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Slot:
    """A unit that every example of a split gets.

    It waits for the steps in `after`. If it `gathers` them, failed ones count too, and one done step is
    enough. `sample` counts the grid's seeds, the rationales to vote on, or the calls to grow from the
    example. The prompts of a `together` unit begin alike for all examples.
    """

    stage: Stage
    variant: str
    queue: str
    after: tuple[Step, ...] = ()
    sample: int = 0
    gathers: bool = False
    together: bool = False

    @property
    def step(self) -> Step:
        return (self.stage, self.variant, self.sample)


def train_slots(experiment: Experiment) -> list[Slot]:
    teacher = f"teacher.{experiment.teacher.name}"
    if experiment.grow.enabled:
        return _grow_slots(experiment.grow, teacher)
    slots = []
    if experiment.augment.enabled:
        slots.append(Slot("augment", "", teacher))
    after = tuple(slot.step for slot in slots)
    searches, grid = Searches.read(experiment.passages), cells(experiment)
    wording = train_wording(experiment)
    retrievals = {BASE, *(cell.retrieval for cell in grid if cell.retrieval and cell.shots)}
    names = {searches.unit_name(wording, retrieval) for retrieval in retrievals}
    slots += [Slot("retrieve", name, "retrieve", after) for name in sorted(names)]
    if any(cell.exemplars in ("nearest", "diverse") for cell in grid):
        slots.append(Slot("retrieve", VECTOR, "retrieve"))
    for number in range(1, experiment.rationale.rounds + 1):
        slots += _round_slots(experiment, number, ("retrieve", wording, 0))
    return slots


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


def _round_slots(experiment: Experiment, number: int, retrieve: Step) -> list[Slot]:
    """Return a rationale, or several and the vote on them, which asks no model; then the passes."""
    teacher = f"teacher.{experiment.teacher.name}"
    after = (retrieve,) if number == 1 else (retrieve, round_barrier(number))
    samples = range(experiment.rationale.samples)
    slots = [Slot(*round_start(experiment, number), teacher, after, sample) for sample in samples]
    if len(slots) > 1:
        drawn = tuple(slot.step for slot in slots)
        slots.append(Slot("rationale", in_round(number), "judge", drawn, gathers=True))
    for each in range(1, experiment.rationale.passes + 1):
        slots.append(Slot("rationalize", pass_name(number, each), teacher, (slots[-1].step,)))
    return slots


def _grow_slots(config: Grow, teacher: str) -> list[Slot]:
    return [
        Slot("grow", in_round(number), teacher, () if number == 1 else (round_barrier(number),), sample)
        for number in range(1, config.rounds + 1)
        for sample in range(config.samples)
    ]


def eval_slots(experiment: Experiment) -> list[Slot]:
    slots = []
    grid = cells(experiment)
    if any(cell.augment_test for cell in grid):
        slots.append(Slot("augment", "", f"teacher.{experiment.teacher.name}"))
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
    for cell in grid:
        after: list[Step] = []
        if cell.retrieval:
            after.append(("retrieve", searches.unit_name(cell.wording, cell.retrieval), 0))
        elif cell.augment_test:
            after.append(("augment", "", 0))
        if cell.exemplars == "nearest":
            after.append(("retrieve", VECTOR, 0))
        if cell.shots:
            after.append(BARRIER)
        together, student = cell.exemplars in ("fixed", "diverse"), f"student.{cell.student}"
        for sample in range(len(experiment.grid.seeds)):
            answer = Slot("answer", cell.name, student, tuple(after), sample, together=together)
            slots += [answer, Slot("judge", cell.name, "judge", (answer.step,), sample, together=together)]
    return slots


def dependants(slots: list[Slot], step: Step) -> list[Step]:
    """Return the steps that wait for `step` directly."""
    return [slot.step for slot in slots if step in slot.after]


def gathering_dependants(slots: list[Slot], step: Step) -> list[Step]:
    """Return the steps that wait for `step` to end, in success or failure."""
    return [slot.step for slot in slots if slot.gathers and step in slot.after]


def downstream(slots: list[Slot], step: Step) -> list[Step]:
    """Return the steps that cannot happen without `step`, directly or not."""
    lost = {step}
    for slot in slots:
        missing = lost.intersection(slot.after)
        if missing and (len(missing) == len(slot.after) or not slot.gathers):
            lost.add(slot.step)
    return [slot.step for slot in slots if slot.step in lost and slot.step != step]


def queues(experiment: Experiment) -> list[str]:
    """Return every queue that the experiment needs a worker for."""
    return sorted({slot.queue for slot in train_slots(experiment) + eval_slots(experiment)})
