"""Rules for every shipped task folder, including the one that `starmill task new` makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.core.answers.parsers import Pair, parse_pairs
from models.core.experiment.task_folder import TaskFolder
from models.core.prompts.rendering import PromptRenderer
from models.core.types import Completion, Exemplar, Passage, Usage
from producer.experiments.task_check import check_task
from producer.experiments.task_folders import SCAFFOLD, SHIPPED, read_task, shipped_tasks
from tests.support.pages import PAGES

FOLDERS = [*(SHIPPED / name for name in shipped_tasks()), SCAFFOLD]
PASSAGE = Passage("p", "p", "(x)", "What is known about it.")
SHOWN = Exemplar("an earlier request", "an earlier answer", "", (PASSAGE,))


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def wording(folder: Path) -> PromptRenderer:
    return PromptRenderer(TaskFolder.model_validate(read_task(folder)[0]))


def test_task_folder_passes_its_check(folder: Path) -> None:
    problems = check_task(folder)
    assert problems.seeds >= 2
    assert problems.first_prompt


def test_task_folder_is_described_and_documented(folder: Path) -> None:
    if folder != SCAFFOLD:
        assert shipped_tasks()[folder.name]
        assert f"`{folder.name}`" in PAGES["models/README.md"]


def test_a_student_goes_on_where_its_text_ends(wording: PromptRenderer) -> None:
    bare = wording.student_prompt("REQUEST", [], [])
    shown = wording.student_prompt("REQUEST", [PASSAGE], [SHOWN])
    assert bare.count("REQUEST") == 1
    assert bare == bare.strip()
    assert shown.endswith(bare)
    assert shown.count("What is known about it.") == 2
    assert "an earlier answer" in shown


def test_an_answer_of_a_raw_prompt_ends_where_a_next_example_begins(wording: PromptRenderer) -> None:
    for passages in ([], [PASSAGE]):
        assert wording.student_prompt("REQUEST", passages, []).startswith(tuple(wording.folder.stop))


def test_without_documentation_no_heading_is_left(wording: PromptRenderer) -> None:
    bare = Exemplar("an earlier request", "an earlier answer", "Because.")
    asked = [message.content for message in wording.rationale("REQUEST", [], [bare])[1:]]
    for text in (*asked, wording.student_prompt("REQUEST", [], [bare])):
        assert "Document" not in text
        assert "\n\n\n" not in text
        assert text == text.lstrip()


def test_the_answer_is_given_away_as_a_hint_alone(wording: PromptRenderer) -> None:
    for style in ("paper", "explain"):
        plain = wording.rationale("REQUEST", [PASSAGE], [SHOWN], None, style)
        hinted = wording.rationale("REQUEST", [PASSAGE], [SHOWN], "REFERENCE", style)
        assert "REFERENCE" not in "".join(message.content for message in plain)
        assert "REFERENCE" in hinted[-1].content
        assert hinted[:-1] == plain[:-1]
        assert 'The answer is"' in "".join(message.content for message in plain)
        assert "REQUEST" in plain[-1].content


def test_new_requests_are_asked_for_in_the_form_that_is_read(wording: PromptRenderer) -> None:
    asked = wording.growth([("REQUEST", "ANSWER"), ("OTHER", "SECOND\nLINE")], 7)[-1].content
    shown, _, instruction = asked.rpartition("\n\n")
    parsed = parse_pairs(Completion(shown, "stop", Usage()))
    assert parsed == (Pair("REQUEST", "ANSWER"), Pair("OTHER", "SECOND\nLINE"))
    assert "7" in instruction
    assert all(label in instruction for label in ("Request:", "Answer:"))
