"""The growth filter keeps no candidate that repeats an example or another candidate."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.core.experiment.options import Grow
from models.core.growth import DROPS, Drop, GrowthCandidate, GrowthFilter, NearestRequests
from models.core.words import Words

TRAIN = {"train/0": "sort the list of words by length", "train/1": "count the lines of a file"}
TEST = {"test/0": "remove all blanks from the end of a string"}
WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9).map(tuple)


def gate(**settings: object) -> GrowthFilter:
    return GrowthFilter(Grow.model_validate(settings), TRAIN.items(), TEST.items())


def reason(judged: Drop | None) -> str:
    if judged:
        assert judged.reason in DROPS
    return judged.reason if judged else "kept"


def rouge_l(one: Sequence[str], two: Sequence[str]) -> tuple[int, int]:
    """2 LCS and m + n, by the textbook."""
    best = [0] * (len(two) + 1)
    for word in one:
        row = [0]
        for index, other in enumerate(two):
            row.append(best[index] + 1 if word == other else max(row[-1], best[index + 1]))
        best = row
    return 2 * best[-1], len(one) + len(two)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("open the third door on the left", "kept"),
        ("sort list", "short"),
        ("word " * 151, "long"),
        ("Count the lines of a FILE!", "parrot"),
        ("sort the list of words by their length", "similar"),
        ("count the lines of a file", "parrot"),
        ("remove blanks from the end of a string", "test"),
    ],
)
def test_growth_candidate_is_dropped_with_its_reason(request_: str, message: str) -> None:
    assert reason(gate().judge(GrowthCandidate("grown-1-1", request_, "x", shown=("train/1",)))) == message


def test_flawed_reply_is_dropped_with_its_flaw_as_reason() -> None:
    for flaw in ("no_request", "no_answer", "truncated"):
        assert reason(gate().judge(GrowthCandidate("grown-1-1", "count all the red doors", "", flaw))) == flaw


def test_similar_candidate_is_dropped_with_neighbour_and_similarity() -> None:
    judging = gate()
    assert judging.judge(GrowthCandidate("grown-1-1", "open the third door on the left", "x")) is None
    drop = judging.judge(GrowthCandidate("grown-1-2", "open the third door on the right", "x"))
    assert drop == Drop("similar", "grown-1-1", pytest.approx(2 * 6 / 14))
    # What was dropped is no reason to drop another.
    assert judging.judge(GrowthCandidate("grown-1-3", "lock every third window to its right", "y")) is None


def test_the_same_answer_to_another_request_is_kept() -> None:
    judging = gate()
    assert judging.judge(GrowthCandidate("grown-1-1", "open the third door on the left", "x")) is None
    assert judging.judge(GrowthCandidate("grown-1-2", "which way leads me outside", "x")) is None


@given(
    st.lists(WORDS, max_size=30),
    st.lists(WORDS, max_size=3),
    st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]),
)
def test_kept_candidates_are_pairwise_below_the_threshold(
    message: list[Words], test: list[Words], threshold: float
) -> None:
    """And what is dropped as similar reaches it, with the nearest that was kept before."""
    names = {f"test/{index}": " ".join(words) for index, words in enumerate(test)}
    judging = GrowthFilter(Grow(threshold=threshold, least=1), [], names.items())
    kept: list[Words] = []
    for index, words in enumerate(message):
        drop = judging.judge(GrowthCandidate(str(index), " ".join(words), "x"))
        scores = [twice / total for twice, total in (rouge_l(words, other) for other in (*test, *kept))]
        best = max(scores, default=0.0)
        if drop is None:
            assert best < threshold
            kept.append(words)
        else:
            assert drop.reason in {"similar", "test"}
            assert best >= threshold - 1e-9
            assert drop.score is not None
            assert drop.score >= threshold - 1e-9


@given(st.lists(WORDS, min_size=1, max_size=20), WORDS, st.floats(0.05, 1))
def test_nearest_equals_exhaustive_search(known: list[Words], message: Words, threshold: float) -> None:
    nearest = NearestRequests(threshold)
    for index, words in enumerate(known):
        nearest.add(str(index), words)
    scores = [twice / total for twice, total in (rouge_l(words, message) for words in known)]
    hit = nearest.find(message)
    if abs(max(scores) - threshold) < 1e-9:
        return
    assert (hit is not None) == (max(scores) > threshold)
    if hit:
        assert hit[1] == pytest.approx(max(scores))
        assert scores[int(hit[0])] == max(scores)
        assert int(hit[0]) == scores.index(max(scores))


def test_the_first_of_two_that_are_alike_is_kept() -> None:
    one, two = (GrowthCandidate(f"grown-1-{n}", f"open the third door on the {side}", "x")
                for n, side in enumerate(("left", "right")))  # fmt: skip
    for order in ((one, two), (two, one)):
        judging = gate()
        assert [reason(judging.judge(each)) for each in order] == ["kept", "similar"]


def test_a_length_has_to_be_possible() -> None:
    with pytest.raises(ValidationError, match="least 9 is above most 5"):
        Grow(least=9, most=5)


def test_a_quarter_of_the_examples_is_grown_from_the_second_round_on() -> None:
    assert [Grow().grown_shown(number) for number in (1, 2, 3)] == [0, 2, 2]
    assert Grow(shown=3).grown_shown(2) == 0
