"""Few rows and all rows, the time within limits, and prices that an experiment does not give."""

from __future__ import annotations

import math
from typing import Any

import pytest

from models.core.experiment.endpoints import Model, Price
from models.core.pipeline.signatures import asked_by_row, signatures
from models.core.types import Example, Usage
from producer.look_ahead.duration import ModelLoad, call_seconds, phase_seconds
from producer.look_ahead.forecast import Estimate, StepEstimate
from producer.look_ahead.prices import price_of, source
from producer.look_ahead.projection import ModelUse
from producer.look_ahead.row_lengths import RowLengths, residual, trend
from tests.support.step_runs import STEPS, experiment

LENGTHS = [10.0, 20.0, 30.0, 40.0]


def model(name: str = "m", **settings: Any) -> Model:
    return Model.model_validate({"name": name, "backend": "openai", "model": name, **settings})


def test_trend_is_the_slope_as_far_as_lengths_explain_values() -> None:
    assert trend(LENGTHS, [1, 3, 5, 7]) == pytest.approx(0.2)
    assert trend(LENGTHS, [5, 5, 5, 5]) == 0
    assert abs(trend(LENGTHS, [5, 1, 6, 2])) < 0.01
    assert trend([10, 20], [1, 3]) == 0
    assert trend([10, 10, 10], [1, 2, 3]) == 0


def test_residual_is_what_lengths_do_not_explain() -> None:
    assert residual(LENGTHS, [1, 3, 5, 7]) == pytest.approx(0)
    assert residual([10, 10, 10], [1, 2, 3]) == 1
    assert residual([10, 20], [1, 3]) == 2
    assert residual([10], [1]) == math.inf


def test_conditions_over_columns_of_the_data_are_tried_on_all_rows() -> None:
    steps = {
        "a": {"prompt": "{{ question }}"},
        "b": {"prompt": "{{ a }}", "when": "level > 1"},
        "c": {"prompt": "{{ a }}", "when": "not a"},
    }
    lengths = RowLengths(experiment(steps=steps))
    rows = [Example(n, str(n), "", "", columns={"question": "x" * n, "level": n % 4}) for n in range(8)]
    by_step = lengths.by_step(rows)
    assert (by_step["a"].share, by_step["b"].share, by_step["c"].share) == (1, 0.5, 1)
    assert (by_step["a"].length, by_step["b"].length) == (3.5, 4.5)


def test_time_is_that_of_the_tightest_limit() -> None:
    calls = {"calls": 600.0, "tokens": 60_000.0, "seconds": 640.0}
    assert call_seconds([ModelLoad(model(), **calls)]) == 10
    assert call_seconds([ModelLoad(model(rpm=60), **calls)]) == 600
    assert call_seconds([ModelLoad(model(tpm=1000), **calls)]) == 3600
    assert call_seconds([ModelLoad(model(max_concurrency=1), **calls)]) == 640
    assert call_seconds([]) == 0


def test_models_that_share_limits_share_the_time() -> None:
    load = ModelLoad(model(), 600, 0, 640)
    assert call_seconds([load, load]) == 20
    assert call_seconds([load, ModelLoad(model("other"), 600, 0, 640)]) == 10
    assert phase_seconds([load, load]) == pytest.approx(20 + 2 * 640 / 600)


def test_rows_are_advised_by_their_error() -> None:
    use = ModelUse(model(), 100, Usage(900, 0, 100), 1.0, 0.1)
    step = StepEstimate("draft", "train", 105, 5, 100, (use,), 5, 5)
    steps = experiment()

    def made(error: float) -> Estimate:
        return Estimate(steps, {"train": 105, "test": 0}, (step,), ("preview",), 1.0, error)

    assert [made(error).enough_rows for error in (0, 50, 100, 150, math.inf)] == [0, 5, 20, 45, 100]
    assert made(100).relative_error == 0.1
    assert (made(0).rests_on(5), made(0).rests_on(6)) == (True, False)


def test_price_of_the_experiment_counts_and_else_the_published_one() -> None:
    own = Price(input=1, output=2)
    assert price_of(model("gpt-4o-mini", price=own), published=True) == own
    assert price_of(model("gpt-4o-mini"), published=False) is None
    published = price_of(model("gpt-4o-mini"), published=True)
    assert published
    assert published.input < published.output
    assert source().startswith("genai-prices ")
    assert price_of(model("no-such-model"), published=True) is None
    assert price_of(model("gpt-4o-mini", base_url="http://127.0.0.1:1/v1"), published=True) is None


def test_signature_of_a_step_changes_with_those_that_it_reads() -> None:
    before = signatures(experiment())
    changed = {**STEPS, "critique": {**STEPS["critique"], "prompt": "Judge {{ draft }}"}}
    after = signatures(experiment(name="other", data="more.csv", steps=changed))
    assert {step for step in STEPS if before[step] != after[step]} == {"critique", "best", "revise"}
    priced = {"backend": "openai", "model": "writer", "rpm": 7, "price": {"input": 1}}
    assert signatures(experiment(teacher=priced)) == before
    warm = {"backend": "openai", "model": "writer", "params": {"temperature": 1}}
    assert signatures(experiment(teacher=warm))["draft"] != before["draft"]


def test_steps_after_a_common_call_depend_on_other_rows() -> None:
    steps = {
        "tag": {"prompt": "Tag {{ question }}", "together": 5},
        "alone": {"prompt": "Explain {{ question }}"},
        "both": {"prompt": "{{ alone }} {{ tag }}"},
    }
    made = experiment(steps=steps)
    assert [asked_by_row(made, step, "") for step in steps] == [False, True, False]
