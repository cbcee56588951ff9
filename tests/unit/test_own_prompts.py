"""An experiment may bring single templates of its own, in its file or beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.core.errors import TaskFolderError
from models.core.prompts.rendering import PromptRenderer
from models.core.types import Example, Exemplar, Message
from producer.experiments.task_check import check_prompts
from tests.support.experiment_files import load, refusal

QUESTIONS: dict[str, Any] = {
    "name": "q", "task": "qa", "data": "rows.jsonl", "teacher": "embedded", "students": ["embedded"],
}  # fmt: skip


def wording(folder: Path, *overrides: str, **prompts: str) -> PromptRenderer:
    experiment = load(folder, QUESTIONS | {"prompts": prompts}, *overrides)
    assert experiment.task
    return PromptRenderer(experiment.task)


def test_text_without_blocks_is_what_the_user_says(tmp_path: Path) -> None:
    own = wording(tmp_path, rationale="Level {{ level }}: {{ request }}", answer="Q: {{ request }}\nA:")
    shipped = wording(tmp_path)
    asked = own.rationale("2 + 2?", [], [], columns={"level": 3})
    assert asked == (shipped.rationale("2 + 2?", [], [])[0], Message("user", "Level 3: 2 + 2?"))
    exemplar = Exemplar("1 + 1?", "2")
    assert own.student_prompt("2 + 2?", [], [exemplar]) == "Q: 1 + 1?\nA: The answer is 2\n\nQ: 2 + 2?\nA:"
    assert own.verdict("a", "b", "c") == shipped.verdict("a", "b", "c")


def test_template_is_read_from_a_file_beside_the_experiment(tmp_path: Path) -> None:
    text = "{% block system %}Be brief.{% endblock %}{% block user %}{{ request }}{% endblock %}"
    (tmp_path / "why.j2").write_text(text)
    for own in (
        wording(tmp_path, rationale="why.j2"),
        wording(tmp_path, f"prompts.rationale={tmp_path}/why.j2"),
    ):
        assert own.rationale("why", [], []) == (Message("system", "Be brief."), Message("user", "why"))


def test_columns_that_prompts_name_are_looked_for_in_the_first_rows(tmp_path: Path) -> None:
    experiment = load(tmp_path, QUESTIONS | {"prompts": {"rationale": "{{ level }} {{ request }}"}})
    rows = [Example(0, "0", "2 + 2?", "4"), Example(1, "1", "3 + 3?", "6", columns={"level": 3})]
    assert check_prompts(experiment, rows) == " 2 + 2?"
    experiment = load(tmp_path, QUESTIONS | {"prompts": {"answer": "{{ levle }} {{ request }}"}})
    with pytest.raises(TaskFolderError, match="no field 'levle' here; did you mean level"):
        check_prompts(experiment, rows)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ("x", "prompts: must be a mapping of augment, rationale, answer, verdict, grow"),
        ({"rational": "x"}, "prompts.rational: unknown key; did you mean rationale?"),
        ({"answer": 3}, "prompts.answer: must be a template, or the name of a file that holds one"),
        ({"answer": "gone.j2"}, "prompts.answer: there is no file gone.j2 in "),
        ({"augment": "{{ request }}"}, "prompts.augment:1: block 'system' is missing"),
        ({"answer": "{{ request"}, "prompts.answer:1: is no valid template"),
        ({"verdict": "{{ request.title }}"}, "there is no attribute 'title' here"),
    ],
)
def test_impossible_template_is_named(tmp_path: Path, prompts: Any, says: str) -> None:
    assert says in refusal(tmp_path, QUESTIONS | {"prompts": prompts})
