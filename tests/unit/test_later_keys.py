"""Keys that came later change the identity of no run that was planned before, unless they are set."""

from __future__ import annotations

from typing import Any

import pytest

from models.core.experiment.identity_keys import drop_later_keys
from storage.ledger.runs import config_hash
from tests.support.small_run import experiment

IN_SECTIONS = [
    ({"augment": {"accept": "requires"}}, {"augment": {"accept": "any"}}),
    ({"augment": {"on_failure": "raw"}}, {"augment": {"on_failure": "fail"}}),
    (
        {"rationale": {"passes": 2, "hint_leaks": "wrong"}},
        {"rationale": {"passes": 2, "hint_leaks": "judged"}},
    ),
]


def identity(**sections: Any) -> str:
    return config_hash(experiment(**sections), "data")


@pytest.mark.parametrize(("default", "other"), IN_SECTIONS)
def test_other_value_makes_another_run(default: dict[str, Any], other: dict[str, Any]) -> None:
    assert identity(**default) != identity(**other)


@pytest.mark.parametrize("section", ["augment", "rationale", "steps"])
def test_default_is_left_out_of_what_is_hashed(section: str) -> None:
    """An earlier release hashed an experiment without the keys."""
    step = {"kind": "generate", "prompt": "Say {{ request }}"}
    planned = experiment(data="rows.csv", dataset=None, steps={"said": step})
    config = planned.model_dump(mode="json")
    for model in (config["teacher"], *config["students"]):
        model["api_key_env"] = model["api_key_env"] or "x"
    drop_later_keys(config)
    block = config["steps"]["said"] if section == "steps" else config[section]
    assert not {"accept", "on_failure", "hint_leaks", "optional"} & block.keys()
