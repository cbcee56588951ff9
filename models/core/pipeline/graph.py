"""The graph of a row's units: what each waits for, and what follows from its end."""

from __future__ import annotations

from dataclasses import dataclass

# Stage, variant and sample of a unit. The stage is the name of its step; in the pipeline `star` the variant
# names a cell, a search, or a rationale of a round.
Step = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Slot:
    """A unit that every example of a split gets.

    It waits for the steps in `after`. If it `gathers` them, failed ones count too, and one done step is
    enough. `sample` counts the grid's seeds, the samples of a step, or the calls to grow from the example.
    The prompts of a `together` unit begin alike for all examples. `kind` is that of the step in a pipeline of
    steps, and empty in `star`, whose stages are kinds of their own.
    """

    stage: str
    variant: str
    queue: str
    after: tuple[Step, ...] = ()
    sample: int = 0
    gathers: bool = False
    together: bool = False
    kind: str = ""

    @property
    def step(self) -> Step:
        return (self.stage, self.variant, self.sample)


def all_dependants(slots: list[Slot]) -> dict[Step, list[Step]]:
    """Return for each step those that wait for it directly."""
    waiting: dict[Step, list[Step]] = {}
    for slot in slots:
        for step in slot.after:
            waiting.setdefault(step, []).append(slot.step)
    return waiting


def dependants(slots: list[Slot], step: Step) -> list[Step]:
    """Return the steps that wait for `step` directly."""
    return all_dependants(slots).get(step, [])


def gathering_dependants(slots: list[Slot], step: Step) -> list[Step]:
    """Return the steps that wait for `step` to end, in success or failure."""
    return [slot.step for slot in slots if slot.gathers and step in slot.after]


def votes_without(slots: list[Slot], lost: list[Step]) -> dict[Step, list[Step]]:
    """Return the steps that gather each of the `lost` steps, and go on without it."""
    votes = {step: [vote for vote in gathering_dependants(slots, step) if vote not in lost] for step in lost}
    return {step: gathering for step, gathering in votes.items() if gathering}


def downstream(slots: list[Slot], step: Step) -> list[Step]:
    """Return the steps that cannot happen without `step`, directly or not."""
    lost = {step}
    for slot in slots:
        missing = lost.intersection(slot.after)
        if missing and (len(missing) == len(slot.after) or not slot.gathers):
            lost.add(slot.step)
    return [slot.step for slot in slots if slot.step in lost and slot.step != step]
