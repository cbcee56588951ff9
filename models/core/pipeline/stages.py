"""The graph of stages: what each unit of an example waits for, and which queue it goes to.

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
from models.core.pipeline.rounds import SAMPLE, named, passed, rationales, starts

Stage = Literal["grow", "augment", "retrieve", "rationale", "rationalize", "answer", "judge"]
STAGES: tuple[Stage, ...] = ("grow", "augment", "retrieve", "rationale", "rationalize", "answer", "judge")
Step = tuple[str, str, int]
# Which wording of a request is searched for; the unit of another search than the section's own adds its name.
WORDINGS = ("raw", "augmented")
BARRIER: Step = ("barrier", "", 0)
# The variant of the unit that records the vector of a request.
VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Slot:
    """A unit that every example of a split gets. `after` names the steps it waits for; where it `gathers`
    them, those that fail are met as well, and one is enough. `sample` counts the grid's seeds, or the
    rationales to vote on, or the calls to grow from the example. `together` are units whose prompts begin
    alike for all examples."""

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
    asked: tuple[Step, ...] = (("augment", "", 0),) if experiment.augment.enabled else ()
    searches = Searches.read(experiment.passages)
    query = train_wording(experiment)
    shown = [searches.variant(query, BASE)]
    shown += [searches.variant(query, cell.retrieval) for cell in cells(experiment)
              if cell.retrieval and cell.shots]  # fmt: skip
    slots += [Slot("retrieve", variant, "retrieve", asked) for variant in sorted(set(shown))]
    if any(cell.exemplars in ("nearest", "diverse") for cell in cells(experiment)):
        slots.append(Slot("retrieve", VECTOR, "retrieve"))
    for number in range(1, experiment.rationale.rounds + 1):
        slots += _round(experiment, number, ("retrieve", query, 0))
    return slots


def round_barrier(number: int) -> Step:
    """What the first units of a later round wait for."""
    return ("barrier", named(number), 0)


def rounds_of(experiment: Experiment) -> int:
    return experiment.grow.rounds if experiment.grow.enabled else experiment.rationale.rounds


def of_round(experiment: Experiment, number: int) -> dict[Stage, Sequence[str]]:
    """The variants, by stage, of all units of a round."""
    if experiment.grow.enabled:
        return {"grow": [named(number)]}
    tried = rationales(number)
    return {"rationale": [*tried, named(number, SAMPLE)], "rationalize": tried}


def beginning(experiment: Experiment, number: int) -> tuple[Stage, str]:
    """Stage and variant of the units that a round begins with."""
    if experiment.grow.enabled:
        return "grow", named(number)
    return "rationale", starts(number, experiment.rationale.samples)


def train_wording(experiment: Experiment) -> str:
    """Which wording of a train request is searched for and reasoned about."""
    return "augmented" if experiment.augment.enabled else "raw"


def _round(experiment: Experiment, number: int, found: Step) -> list[Slot]:
    """A rationale, or several and the vote on them, which asks no model; then the passes."""
    teacher = f"teacher.{experiment.teacher.name}"
    before = (found,) if number == 1 else (found, round_barrier(number))
    if (samples := experiment.rationale.samples) == 1:
        slots = [Slot("rationale", named(number), teacher, before)]
    else:
        slots = [
            Slot("rationale", named(number, SAMPLE), teacher, before, sample) for sample in range(samples)
        ]
        drawn = tuple(slot.step for slot in slots)
        slots.append(Slot("rationale", named(number), "judge", drawn, gathers=True))
    for place in range(1, experiment.rationale.passes + 1):
        slots.append(Slot("rationalize", passed(number, place), teacher, (slots[-1].step,)))
    return slots


def _grow_slots(config: Grow, teacher: str) -> list[Slot]:
    return [
        Slot("grow", named(number), teacher, () if number == 1 else (round_barrier(number),), sample)
        for number in range(1, config.rounds + 1)
        for sample in range(config.samples)
    ]


def eval_slots(experiment: Experiment) -> list[Slot]:
    slots = []
    grid = cells(experiment)
    if any(cell.augment_test for cell in grid):
        slots.append(Slot("augment", "", f"teacher.{experiment.teacher.name}"))
    searches = Searches.read(experiment.passages)
    shown = {
        (searches.variant(cell.query, cell.retrieval), cell.augment_test) for cell in grid if cell.retrieval
    }
    for variant, augmented in sorted(shown):
        asked: tuple[Step, ...] = (("augment", "", 0),) if augmented else ()
        slots.append(Slot("retrieve", variant, "retrieve", asked))
    if any(cell.exemplars == "nearest" for cell in grid):
        slots.append(Slot("retrieve", VECTOR, "retrieve"))
    for cell in grid:
        after: list[Step] = []
        if cell.retrieval:
            after.append(("retrieve", searches.variant(cell.query, cell.retrieval), 0))
        elif cell.augment_test:
            after.append(("augment", "", 0))
        if cell.exemplars == "nearest":
            after.append(("retrieve", VECTOR, 0))
        if cell.shots:
            after.append(BARRIER)
        alike = cell.exemplars in ("fixed", "diverse")
        for sample in range(len(experiment.grid.seeds)):
            answer = Slot(
                "answer", cell.variant, f"student.{cell.student}", tuple(after), sample, together=alike
            )
            judge = Slot("judge", cell.variant, "judge", (answer.step,), sample, together=alike)
            slots += [answer, judge]
    return slots


def dependants(slots: list[Slot], step: Step) -> list[Step]:
    """The steps that wait for `step` directly."""
    return [slot.step for slot in slots if step in slot.after]


def gathering_dependants(slots: list[Slot], step: Step) -> list[Step]:
    """The steps that wait for `step` to end, be it in failure."""
    return [slot.step for slot in slots if slot.gathers and step in slot.after]


def downstream(slots: list[Slot], step: Step) -> list[Step]:
    """The steps that cannot happen without `step`, directly or not."""
    lost = {step}
    for slot in slots:
        missed = lost.intersection(slot.after)
        if missed and (len(missed) == len(slot.after) or not slot.gathers):
            lost.add(slot.step)
    return [slot.step for slot in slots if slot.step in lost and slot.step != step]


def queues(experiment: Experiment) -> list[str]:
    """Every queue that the experiment needs a worker for."""
    slots = train_slots(experiment) + eval_slots(experiment)
    return sorted({slot.queue for slot in slots})
