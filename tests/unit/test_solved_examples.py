"""Votes of solved examples, and the cases in which they must be zero."""

from __future__ import annotations

import numpy as np
import pytest

from models.core.retrieval.name_groups import NameGroups
from models.core.retrieval.solved_examples import LIBRARY_SHARPNESS, SHARPNESS, solved_examples
from models.core.words import question_group

# Three examples of two questions over four passages of two libraries.
PAGE = np.array([0, 1, 1, 2])
SOLVED = solved_examples(
    np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), ["1", "1", "2"], [[0], [1, 2], [2]],
    np.eye(4, dtype=np.float32), NameGroups(PAGE, PAGE, PAGE),
)  # fmt: skip
LIBRARY = np.array([0, 0, 1, 1])
SIMILARITY = np.array([0.9, 0.5, 0.8], dtype=np.float32)


def test_a_group_is_what_stands_before_the_last_dash() -> None:
    assert [question_group(name) for name in ("12-3", "demo-train-001", "7")] == ["12", "demo-train-001", "7"]


def test_the_nearest_speak_loudest() -> None:
    votes = SOLVED.votes(SIMILARITY, np.ones(3, dtype=bool), LIBRARY, 2)
    voices = np.exp((SIMILARITY - 0.9) / SHARPNESS)
    voices /= voices.sum()
    assert votes.share.tolist() == pytest.approx([voices[0], voices[1], voices[1] + voices[2], 0])
    assert votes.nearest.tolist() == pytest.approx([0.9, 0.5, 0.8, 0])
    assert votes.popular.tolist() == [1, 1, 2, 0]
    assert votes.certainty == pytest.approx(0.9)
    assert votes.library.sum() == pytest.approx(1)


def test_paraphrases_of_the_question_are_silent() -> None:
    votes = SOLVED.votes(SIMILARITY, SOLVED.others("1-77"), LIBRARY, 2)
    assert votes.share.tolist() == pytest.approx([0, 0, 1, 0])


def test_a_hidden_passage_silences_all_that_name_it() -> None:
    assert SOLVED.without(2).tolist() == [True, False, False]


def test_votes_without_allowed_examples_are_zero() -> None:
    votes = SOLVED.votes(SIMILARITY, np.zeros(3, dtype=bool), LIBRARY, 2)
    assert not votes.share.any()
    assert not votes.library.any()
    assert not votes.groups.page.share.any()
    assert not votes.needed.any()


def test_examples_vote_for_the_groups_of_their_passages() -> None:
    votes = SOLVED.votes(SIMILARITY, np.array([True, True, False]), LIBRARY, 2)
    wide = np.exp((SIMILARITY[:2] - 0.9) / LIBRARY_SHARPNESS)
    assert votes.groups.page.share.tolist() == pytest.approx([*wide / wide.sum(), 0])
    assert votes.groups.page.popular.tolist() == [1, 1, 0]
    assert votes.groups.page.nearest.tolist() == pytest.approx([0.9, 0.5, 0])


def test_what_similar_examples_need_is_their_mean_vector() -> None:
    votes = SOLVED.votes(SIMILARITY, np.array([False, True, False]), LIBRARY, 2)
    assert votes.needed.tolist() == pytest.approx([0, 0.5**0.5, 0.5**0.5, 0])
