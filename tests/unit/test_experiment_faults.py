"""One experiment for each fault of steps, models and sections, and the line that its user reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import ExperimentError
from models.core.experiment.schema_words import one_of
from models.core.kinds import KINDS
from models.core.pipeline.steps import check_columns
from tests.support.experiment_files import EXPLAIN, NAMED, load, refusal, with_steps

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "column": (
        with_steps(explain={"prompt": "{{ qestion }}"}),
        "explain: steps.explain.prompt: there is no column qestion; did you mean question? there are "
        "question, level",
    ),
    "overwritten": (
        with_steps(level={"prompt": "{{ question }}"}),
        "explain: steps.level: would overwrite the column of this name; rename the step",
    ),
    "condition": (
        with_steps(explain={"prompt": "p", "when": "level <"}),
        'steps.explain.when: is no condition: it ends too early, found the text "level <"',
    ),
    "schema": (
        with_steps(explain={"prompt": "p", "output": "json", "schema": {"type": "objct"}}),
        "steps.explain: schema is no JSON Schema: at type: 'objct' is none of array, boolean, integer, null, "
        "number, object, string",
    ),
    "later": (
        with_steps(explain={"prompt": "{{ draft }}"}, draft={"prompt": "p"}),
        "steps.explain.prompt: reads draft, which comes later; move draft above explain",
    ),
    "cycle": (
        with_steps(a={"prompt": "{{ b }}"}, b={"prompt": "{{ a }}"}),
        "steps: they need each other in a cycle: a -> b -> a",
    ),
    "itself": (
        with_steps(a={"prompt": "{{ a }}"}),
        "steps.a.prompt: reads the column a, which the step itself makes",
    ),
    "model": (
        with_steps(a={"prompt": "p", "model": "gpt-x"}),
        "steps.a.model: gpt-x is not defined; there are teacher, critic, small under models",
    ),
    "judge": (
        with_steps(a={"prompt": "p", "score": [1, 5]}),
        "steps.a.model: judge is not defined; there are teacher, critic, small under models",
    ),
    "needs": (
        with_steps(a={"prompt": "p", "needs": ["b"]}),
        "steps.a.needs: there is no step b; there are a",
    ),
    "kindless": (
        with_steps(a={}),
        "steps.a: lacks a kind; set kind, or a key that tells it: "
        + ", ".join(f"{one_of(kind.signs)} means {name}" for name, kind in KINDS.items() if kind.signs),
    ),
    "kind": (
        with_steps(a={"kind": "genrate", "prompt": "p"}),
        f'steps.a.kind: takes {one_of([*KINDS])}, found the text "genrate"; did you mean generate?',
    ),
    "slip": (with_steps(a={"promt": "p"}), "steps.a.promt: unknown key; did you mean prompt?"),
    "unlike": (
        with_steps(a={"query": "q", "zzz": 1}),
        "steps.a.zzz: unknown key; known are kind, needs, optional, query, top_k, when",
    ),
    "alias": (
        with_steps(a={"prompt": "q", "zzz": 1}),
        "steps.a.zzz: unknown key; known are check, examples, kind, model, needs, optional, output, params, "
        "prompt, samples, schema, shots, system, together, when",
    ),
    "parameter": (
        with_steps(a={"prompt": "p", "temperature": 1}),
        "steps.a.temperature: unknown key; temperature belongs under params",
    ),
    "text": (
        with_steps(a="p"),
        'steps.a: takes a mapping of keys to values, found the text "p"; write it as {prompt: ...}',
    ),
    "search": (
        with_steps(a={"query": "{{ question }}"}),
        "steps.a: searches the section passages, which is not there; add it",
    ),
    "passages": (
        EXPLAIN | {"passages": {"top_k": 2}},
        "passages: no step of kind retrieve searches them; add one, or remove them",
    ),
    "grid": (
        EXPLAIN | {"grid": {"shots": [0]}},
        "grid: belongs to the pipeline star, and steps do not use it; remove it, or the steps",
    ),
    "students": (
        EXPLAIN | {"students": ["small"]},
        "students: belongs to the pipeline star, and steps do not use it; remove it, or the steps",
    ),
    "no steps": (with_steps(), "steps: there are none; write one, as NAME: {prompt: ...}"),
    "name of a step": (
        with_steps(**{"my-step": {"prompt": "p"}}),
        "steps.my-step: takes a name of up to 64 letters, digits and '_', not first a digit, found the text "
        '"my-step"',
    ),
    "pipeline": (
        NAMED | {"pipeline": "moon"},
        'pipeline: takes star, found the text "moon"; write another pipeline as steps',
    ),
    "both": (
        EXPLAIN | {"pipeline": "star"},
        "pipeline: stands beside steps, which are a pipeline; keep one of them",
    ),
    "shots": (NAMED | {"shots": [1]}, "shots: unknown key; it belongs under grid or steps.NAME"),
    "prompt": (NAMED | {"prompt": "p"}, "prompt: unknown key; it belongs under steps.NAME"),
    "step": (NAMED | {"step": {}}, "step: unknown key; did you mean steps?"),
    "singular": (NAMED | {"model": {}}, "model: unknown key; did you mean models?"),
    "temperature": (
        NAMED | {"temperature": 1},
        "temperature: unknown key; temperature belongs under params of a model or a step",
    ),
    "top": (
        with_steps(a={"prompt": "p", "grid": {}}),
        "steps.a.grid: unknown key; grid stands at the top of the experiment, beside name",
    ),
    "rows": ({"name": "a", "models": {"teacher": "embedded"}}, "has no rows; set data to a file of them"),
    "file": (
        with_steps(a={"prompt": "ask.md"}),
        "steps.a.prompt: there is no file ask.md in FOLDER; mend the name, or write it here",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_told_in_one_exact_line(tmp_path: Path, fault: str) -> None:
    config, says = FAULTS[fault]
    if fault in ("column", "overwritten"):
        experiment = load(tmp_path, config)
        with pytest.raises(ExperimentError, match=f"^{re.escape(says)}$"):
            check_columns(experiment, ["question", "level"])
    else:
        assert refusal(tmp_path, config) == says.replace("FOLDER", str(tmp_path))
