"""The order of steps: which step reads which, and how many samples each has.

Steps stand in the order in which they are done. A step waits for the steps whose columns it reads. A step
that reads one of several samples has a unit for each sample, until a step gathers them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile

from models.core.kinds.step import StepSettings
from models.core.near_names import nearest
from models.core.prompts.expressions import ROW, WORDS, condition


def read_steps(steps: Mapping[str, StepSettings], name: str) -> list[str]:
    """Return the steps whose columns a step reads or that it names in `needs`, in their order. A step that
    reads the whole row reads all earlier ones that have one value."""
    named = _named_steps(steps, name)
    if ROW not in steps[name].reads():
        return named
    earlier = dict(takewhile(lambda item: item[0] != name, steps.items()))
    single = {each for each, count in sample_counts(earlier).items() if count == 1}
    return [each for each in steps if each in single or each in named]


def _named_steps(steps: Mapping[str, StepSettings], name: str) -> list[str]:
    wanted = {*steps[name].reads(), *steps[name].needs}
    return [each for each in steps if each in wanted]


def sample_counts(steps: Mapping[str, StepSettings]) -> dict[str, int]:
    """Return the number of units that a row has of each step."""
    counts: dict[str, int] = {}
    for name, step in steps.items():
        counts[name] = _samples(name, step, {each: counts[each] for each in _named_steps(steps, name)})
    return counts


def check_steps(steps: Mapping[str, StepSettings]) -> None:
    """Raise ValueError if a step needs itself or a later one, or mixes different numbers of samples."""
    order = list(steps)
    for word in WORDS.intersection(order):
        raise ValueError(f"steps.{word}: is a word of prompts and conditions; rename the step")
    for position, name in enumerate(order):
        reads = steps[name].reads()
        for each in steps[name].needs:
            if each not in steps:
                raise ValueError(f"steps.{name}.needs: there is no step {each}; {nearest(each, order)}")
        for each in read_steps(steps, name):
            key = reads.get(each, "needs")
            if each == name:
                raise ValueError(f"steps.{name}.{key}: reads the column {name}, which the step itself makes")
            if order.index(each) >= position:
                if cycle := _path(steps, each, name):
                    raise ValueError(f"steps: they need each other in a cycle: {' -> '.join([name, *cycle])}")
                raise ValueError(
                    f"steps.{name}.{key}: reads {each}, which comes later; move {each} above {name}"
                )
    _check_conditions(steps, sample_counts(steps))
    _check_parts(steps)


def _check_parts(steps: Mapping[str, StepSettings]) -> None:
    """Raise ValueError for a part that no result of a step has: it would be null in each row, once all are
    paid."""
    for name, step in steps.items():
        for (read, part), key in step.parts_read().items():
            verdict = steps[read].verdict if read in steps else ""
            if key == "by" and verdict and not part:
                raise ValueError(f"steps.{name}.by: {read} is an object, no score; write {read}.{verdict}")
            parts = steps[read].parts(steps) if part and read in steps else None
            if parts is not None and part not in parts:
                there = nearest(part, sorted(parts)) if parts else f"write {read} alone"
                raise ValueError(f"steps.{name}.{key}: {read} has no part {part}; {there}")


def _check_conditions(steps: Mapping[str, StepSettings], counts: Mapping[str, int]) -> None:
    """Raise ValueError for a condition of a vote that reads many values as if they were one, and for one that
    takes an object, which is always true, for a verdict."""
    for name, step in steps.items():
        for each in sorted(condition(step.when).truths & steps.keys()) if step.when else ():
            if verdict := steps[each].verdict:
                problem = f"{each} is an object, which is always true; write {each}.{verdict}"
                raise ValueError(f"steps.{name}.when: {problem}")
        for each in condition(step.when).columns if step.gathers and step.when else ():
            if counts.get(each, 1) > 1:
                problem = f"reads {each}, which has {counts[each]} samples here, and a vote is on all of them"
                raise ValueError(f"steps.{name}.when: {problem}")


def _samples(name: str, step: StepSettings, read: Mapping[str, int]) -> int:
    """Return the number of units of a step, from those of the steps that it reads."""
    sampled = {each: count for each, count in read.items() if count > 1}
    if step.gathers or not sampled:
        return step.draws
    if step.draws > 1:
        raise ValueError(
            f"steps.{name}.samples: {next(iter(sampled))} has samples already; choose one by a vote before"
        )
    if len(set(sampled.values())) > 1:
        numbers = ", ".join(f"{each} {count}" for each, count in sampled.items())
        raise ValueError(
            f"steps.{name}: reads steps with different numbers of samples: {numbers}; take a vote"
        )
    return next(iter(sampled.values()))


def _path(steps: Mapping[str, StepSettings], start: str, goal: str) -> list[str]:
    """Return the steps from `start` to `goal`, each reading the next; empty if there is no way."""

    def ways(path: list[str]) -> Iterator[list[str]]:
        for each in read_steps(steps, path[-1]):
            if each == goal:
                yield [*path, each]
            elif each not in path:
                yield from ways([*path, each])

    return next(ways([start]), [])
