"""The graph of stages hangs together for every grid."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from models.core.experiment.axes import ExemplarChoice
from models.core.experiment.experiment import Experiment
from models.core.pipeline.graph import Slot, Step, dependants, downstream, gathering_dependants
from models.core.pipeline.grid import Searches, cells
from models.core.pipeline.plan import queues
from models.core.pipeline.rounds import (
    SAMPLE,
    SAMPLES,
    deciding_round,
    in_round,
    pass_name,
    pass_of,
    rationale_names,
    round_of,
)
from models.core.pipeline.stages import (
    BARRIER,
    STAGES,
    VECTOR,
    eval_slots,
    round_barrier,
    train_slots,
    train_wording,
)
from tests.support.small_run import experiment

# Two searches beside the section's own, and what shares them.
ALTERNATIVES = {
    "bm25": {"method": "bm25"},
    "bm25-short": {"method": "bm25", "form": "signature"},
    "last": {"order": "best_last"},
    "filler": {"control": "filler"},
    "filler-last": {"control": "filler", "order": "best_last"},
}


def axis(values: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[list[object]]:
    return st.lists(values, min_size=1, max_size=most, unique=True)


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    sources = draw(axis(st.sampled_from(["none", "first_pass", "star"])))
    grid = {
        "shots": draw(axis(st.integers(0 if "none" in sources else 1, 64), 2)),
        "retrieval": draw(axis(st.sampled_from([False, True, *ALTERNATIVES]), 4)),
        "rationale": sources,
        "augment_test": draw(axis(st.booleans())),
        "wrong_rationales": draw(axis(st.booleans())),
        "train_rows": draw(st.none() | axis(st.integers(1, 10_000), 2)),
        "exemplars": draw(axis(st.sampled_from(get_args(ExemplarChoice)), 2)),
        "seeds": draw(axis(st.integers(), 2)),
    }
    names = draw(st.lists(st.sampled_from(["a", "b", "a.b"]), min_size=1, unique=True))
    return experiment(
        passages={"alternatives": ALTERNATIVES},
        students=[
            {"backend": "server", "name": name, "model": name, "base_url": "http://127.0.0.1:9/v1"}
            for name in names
        ],
        augment={"enabled": draw(st.booleans())},
        rationale={
            "passes": draw(st.integers(0, 10)),
            "samples": draw(st.integers(1, 5)),
            "rounds": draw(st.integers(1, 3)),
        },
        grid=grid,
    )


def graphs(given_experiment: Experiment) -> list[list[Slot]]:
    return [train_slots(given_experiment), eval_slots(given_experiment)]


def barriers(given_experiment: Experiment) -> set[Step]:
    return {BARRIER, *(round_barrier(number) for number in range(2, given_experiment.rationale.rounds + 1))}


@given(experiments())
def test_units_are_unique_and_wait_for_earlier_ones(drawn: Experiment) -> None:
    for slots in graphs(drawn):
        before = barriers(drawn)
        for slot in slots:
            assert slot.stage in STAGES
            assert slot.step not in before
            assert set(slot.after) <= before
            assert len(set(slot.after)) == len(slot.after)
            before.add(slot.step)


@given(experiments())
def test_downstream_is_all_that_cannot_happen_without(drawn: Experiment) -> None:
    for slots in graphs(drawn):
        for failed in slots:
            happened = barriers(drawn)
            for slot in slots:
                enough = any if slot.gathers else all
                if slot != failed and enough(step in happened for step in slot.after):
                    happened.add(slot.step)
            lost = downstream(slots, failed.step)
            assert lost == [slot.step for slot in slots if slot.step not in happened and slot != failed]


@given(experiments())
def test_only_samples_may_fail_without_harm(drawn: Experiment) -> None:
    for slots in graphs(drawn):
        for slot in slots:
            gathered = gathering_dependants(slots, slot.step)
            voted = [("rationale", in_round(round_of(slot.variant)), 0)]
            assert gathered == (voted if slot.variant in SAMPLES else [])
            assert set(gathered) <= set(dependants(slots, slot.step))
            assert not set(gathered).intersection(downstream(slots, slot.step))


@given(experiments())
def test_each_dependency_is_released_once(drawn: Experiment) -> None:
    for slots in graphs(drawn):
        fed = Counter(step for slot in slots for step in dependants(slots, slot.step))
        opened = Counter(step for barrier in barriers(drawn) for step in dependants(slots, barrier))
        assert {slot.step: len(slot.after) for slot in slots if slot.after} == fed + opened


@given(experiments())
def test_every_cell_is_answered_and_judged_for_every_seed(drawn: Experiment) -> None:
    slots = eval_slots(drawn)
    wanted = {(cell.name, sample) for cell in cells(drawn) for sample in range(len(drawn.grid.seeds))}
    for stage in ("answer", "judge"):
        assert {(slot.variant, slot.sample) for slot in slots if slot.stage == stage} == wanted
    searches = Searches.read(drawn.passages)
    by_variant = {cell.name: cell for cell in cells(drawn)}
    for slot in slots:
        if slot.stage == "answer":
            cell = by_variant[slot.variant]
            assert (BARRIER in slot.after) == (cell.shots > 0)
            needed = {step[0] for step in slot.after} - {"barrier"}
            searched = {"retrieve"} if cell.retrieval else {"augment"} if cell.augment_test else set()
            assert needed == searched | ({"retrieve"} if cell.exemplars == "nearest" else set())
            assert (("retrieve", VECTOR, 0) in slot.after) == (cell.exemplars == "nearest")
            if cell.retrieval:
                assert ("retrieve", searches.unit_name(cell.wording, cell.retrieval), 0) in slot.after
            assert slot.queue == drawn.student(cell.student).queue
        if slot.stage == "judge":
            assert slot.after == (("answer", slot.variant, slot.sample),)


@given(experiments())
def test_every_planned_unit_has_a_use(drawn: Experiment) -> None:
    slots = eval_slots(drawn)
    for slot in slots:
        if slot.stage != "judge":
            assert dependants(slots, slot.step)


@given(experiments())
def test_exemplars_have_the_documentation_of_their_cell(drawn: Experiment) -> None:
    made = {slot.variant for slot in train_slots(drawn) if slot.stage == "retrieve"}
    searches, wording = Searches.read(drawn.passages), train_wording(drawn)
    shown = {cell.retrieval for cell in cells(drawn) if cell.shots and cell.retrieval}
    vectors = any(cell.exemplars in ("nearest", "diverse") for cell in cells(drawn))
    assert made == {wording} | {searches.unit_name(wording, retrieval) for retrieval in shown} | (
        {VECTOR} if vectors else set()
    )


def test_cells_that_differ_in_what_is_shown_share_a_search() -> None:
    grid = {"retrieval": [False, True, *ALTERNATIVES], "rationale": ["star"]}
    wide = experiment(passages={"alternatives": ALTERNATIVES}, grid=grid)
    for slots, wording in ((train_slots(wide), "augmented"), (eval_slots(wide), "raw")):
        searches = [slot for slot in slots if slot.stage == "retrieve"]
        assert [slot.variant for slot in searches] == [wording, f"{wording}/bm25", f"{wording}/filler"]
        assert len({slot.after for slot in searches}) == 1


@given(experiments())
def test_every_queue_is_named(drawn: Experiment) -> None:
    used = {slot.queue for slots in graphs(drawn) for slot in slots}
    assert queues(drawn) == sorted(used)
    assert used == {"model.large", "retrieve", "judge"} | {student.queue for student in drawn.students}


def test_train_examples_go_from_request_to_rationalization() -> None:
    assert [(slot.stage, slot.variant, slot.queue) for slot in train_slots(experiment())] == [
        ("augment", "", "model.large"),
        ("retrieve", "augmented", "retrieve"),
        ("rationale", "", "model.large"),
        ("rationalize", "pass-1", "model.large"),
        ("rationalize", "pass-2", "model.large"),
    ]
    voted = train_slots(experiment(rationale={"passes": 1, "samples": 2}))
    assert [(slot.step, slot.queue, slot.after) for slot in voted[2:]] == [
        (("rationale", "sample", 0), "model.large", (("retrieve", "augmented", 0),)),
        (("rationale", "sample", 1), "model.large", (("retrieve", "augmented", 0),)),
        (("rationale", "", 0), "judge", (("rationale", "sample", 0), ("rationale", "sample", 1))),
        (("rationalize", "pass-1", 0), "model.large", (("rationale", "", 0),)),
    ]
    bare = train_slots(experiment(augment={"enabled": False}, rationale={"passes": 0}))
    assert [dataclasses.astuple(slot)[:2] for slot in bare] == [("retrieve", "raw"), ("rationale", "")]
    assert bare[0].after == ()


def test_units_that_ask_several_models_go_where_one_of_them_runs() -> None:
    local = {"backend": "transformers", "model": "/models/critic"}
    rule = {"correctness": "model"}
    judged = experiment(task=None, judge={"model": local, **rule}, rationale={"passes": 1, **rule})
    by_stage = {slot.stage: slot.queue for slots in graphs(judged) for slot in slots}
    critic = "model.models-critic"
    assert by_stage == {
        "augment": "model.large", "retrieve": "retrieve", "rationale": critic, "rationalize": critic,
        "answer": "model.small", "judge": critic,
    }  # fmt: skip
    both = experiment(
        task=None,
        teacher={"backend": "vllm", "model": "base"},
        judge={"model": local, **rule},
        rationale=rule,
    )
    assert {slot.queue for slot in train_slots(both) if slot.stage == "rationale"} == {"model.base"}
    asked = {"backend": "openai", "model": "critic"}
    networked = experiment(task=None, judge={"model": asked, **rule}, rationale=rule)
    assert queues(networked) == ["judge", "model.large", "model.small", "retrieve"]


def test_growth_is_a_run_of_its_own() -> None:
    grown = experiment(grow={"enabled": True, "rounds": 2, "samples": 2})
    assert [(slot.step, slot.queue, slot.after) for slot in train_slots(grown)] == [
        (("grow", "", 0), "model.large", ()),
        (("grow", "", 1), "model.large", ()),
        (("grow", "round-2", 0), "model.large", (round_barrier(2),)),
        (("grow", "round-2", 1), "model.large", (round_barrier(2),)),
    ]
    assert eval_slots(grown) == []
    assert queues(grown) == ["model.large"]
    assert "grow" not in {slot.stage for slot in train_slots(experiment(grow={"rounds": 2}))}


def test_rounds_follow_each_other() -> None:
    slots = train_slots(experiment(rationale={"passes": 1, "rounds": 2}))
    search = ("retrieve", "augmented", 0)
    assert [(slot.step, slot.after) for slot in slots[2:]] == [
        (("rationale", "", 0), (search,)),
        (("rationalize", "pass-1", 0), (("rationale", "", 0),)),
        (("rationale", "round-2", 0), (search, ("barrier", "round-2", 0))),
        (("rationalize", "round-2/pass-1", 0), (("rationale", "round-2", 0),)),
    ]
    # What is right in one round is asked again in the next.
    assert downstream(slots, ("rationale", "", 0)) == [("rationalize", "pass-1", 0)]
    several = train_slots(experiment(rationale={"samples": 2, "rounds": 2}))
    assert ("rationale", "round-2/sample", 1) in [slot.step for slot in several]


@given(st.integers(1, 10), st.integers(1, 10))
def test_variants_name_their_round_and_pass(number: int, index: int) -> None:
    for variant, of_pass in (
        (in_round(number), 0),
        (in_round(number, SAMPLE), 0),
        (pass_name(number, index), index),
    ):
        assert (round_of(variant), pass_of(variant)) == (number, of_pass)
    assert in_round(number, SAMPLE) in SAMPLES
    assert pass_name(number, index) in rationale_names(number)
    assert not set(rationale_names(number)) & {*SAMPLES, *rationale_names(number % 10 + 1)}


def test_the_latest_round_with_a_right_rationale_counts() -> None:
    rounds = [[False, True], [True], [False], []]
    assert deciding_round(rounds, bool) == [True]
    assert deciding_round([[False], [False, False], []], bool) == [False, False]
    assert deciding_round([[], []], bool) == ()
