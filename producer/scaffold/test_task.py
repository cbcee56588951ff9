"""The folder is whole, and says what it means: `python -m pytest` here."""

from pathlib import Path

from producer.experiments.task_check import check_task

FOLDER = Path(__file__).parent


def test_the_folder_is_whole() -> None:
    found = check_task(FOLDER)
    assert found.train > 0
    assert found.test > 0
    assert found.passages > 0


def test_a_rationale_ends_in_the_answer() -> None:
    asked = check_task(FOLDER).first_prompt
    assert "The answer is" in asked
