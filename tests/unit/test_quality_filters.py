"""Filters mark what they should, whatever stands before it, and nothing else."""

from __future__ import annotations

import random
import tracemalloc
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.experiment.quality_filters import FILTERS, Contamination, Quality
from models.core.quality.filters import Filters, QualityCandidate, TestSplit
from models.core.quality.marks import Mark
from models.core.quality.near_duplicates import NearDuplicates, phrases_of, rows_of_band
from models.core.words import ngrams, share_in_script, words
from tests.support.experiment_files import MINIMAL, load, refusal

LONG = "sum the squares of all even numbers below a given limit with a loop"
open_file = partial(SpooledTemporaryFile, 2**14)
TEXTS = st.lists(st.sampled_from("abcdefgh"), max_size=12).map(" ".join)


def marks(rows: list[QualityCandidate], *names: str, test: Any = (), **settings: Any) -> list[Mark]:
    filters = Filters(Quality.model_validate(settings), names or tuple(FILTERS), test, open_file=BytesIO)
    for row in rows:
        filters.add(row)
    return list(filters.marks(rows))


def places(rows: list[QualityCandidate], name: str, **more: Any) -> list[tuple[int, int | None]]:
    return [(mark.row, mark.other) for mark in marks(rows, name, **more)]


def jaccard(some: set[int], others: set[int]) -> float:
    return len(some & others) / len(some | others)


@given(st.lists(TEXTS, max_size=30), st.sampled_from([0.5, 0.7, 0.9, 1.0]))
def test_near_duplicates_are_near_and_the_first_stays(texts: list[str], threshold: float) -> None:
    """Equal texts are always found; what is found is like another of its group by the true measure."""
    near = NearDuplicates(threshold, BytesIO)
    for text in texts:
        near.add(text)
    pairs = dict(near.pairs(texts))
    assert all(other < index and other not in pairs for index, other in pairs.items())
    phrases = [phrases_of(text) for text in texts]
    for index in pairs:
        assert any(
            jaccard(*map(set, (phrases[index], phrases[other]))) >= threshold
            for other in range(len(texts))
            if other != index and len(phrases[other])
        )
    for index, text in enumerate(texts):
        if text in texts[:index] and len(phrases[index]):
            assert index in pairs


def test_near_duplicates_are_found_among_many() -> None:
    """300 texts with two of forty words changed are found, but for a few; 2,000 others are not."""
    draw = random.Random(1)
    vocabulary = [f"word{number}" for number in range(2000)]
    texts = [draw.choices(vocabulary, k=60) for _ in range(2000)]
    changed = []
    for text in texts[:300]:
        start = draw.randrange(58)
        changed.append([*text[:start], "x", "y", *text[start + 2 :]])
    near = NearDuplicates(0.8, BytesIO)
    joined = [" ".join(text) for text in (*texts, *changed)]
    for text in joined:
        near.add(text)
    pairs = dict(near.pairs(joined))
    assert all(index >= 2000 and other == index - 2000 for index, other in pairs.items())
    assert len(pairs) >= 285


def test_a_row_costs_a_hundred_bytes_whatever_its_length() -> None:
    """A million rows of 120 words would take a gigabyte if their phrases were kept."""
    draw = random.Random(1)
    vocabulary = [f"word{number}" for number in range(2000)]
    rows = (QualityCandidate("", "", " ".join(draw.choices(vocabulary, k=120))) for _ in range(2000))
    filters = Filters(Quality(), ("exact", "near", "length"), open_file=open_file)
    tracemalloc.start()
    try:
        for row in rows:
            filters.add(row)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    filters.marks(())  # closes its files
    assert kept < 150 * 2000


def test_rows_that_resemble_each_other_cost_no_more_memory() -> None:
    """Each of these rows shares bands with others, so that it is compared, and half of them are marked."""
    count, start = 3_000, "of all the even numbers that are below the limit we take the square and sum them"
    rows = [QualityCandidate("", "", f"{start} up {n % 1_000} {n % 1_000 + 1}") for n in range(count)]
    filters = Filters(Quality(), ("near",), open_file=open_file)
    for row in rows:
        filters.add(row)
    tracemalloc.start()
    try:
        table = filters.marks(rows)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.count("near") >= count / 2
    assert most < 100 * count + 2**17


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.8, 0.95, 1.0])
def test_bands_catch_pairs_at_the_threshold(threshold: float) -> None:
    rows = rows_of_band(threshold)
    assert 1 - (1 - threshold**rows) ** (128 // rows) >= 0.95


def test_exact_and_code_duplicates() -> None:
    rows = [
        QualityCandidate("Sort x", "sorted(x)", "It sorts.  The answer is sorted(x)"),
        QualityCandidate("order x", "sorted( x )", "The answer is sorted( x )"),
        QualityCandidate("sort  x", "sorted(x)", "It sorts. The answer is sorted(x)"),
        QualityCandidate("sort x", "x - 1", "x - 1"),
        QualityCandidate("sort x", "x + 1", "x + 1"),
        QualityCandidate("sort x", "", "nothing"),
        QualityCandidate("sort y", "", "nothing else"),
    ]
    assert places(rows, "exact") == [(2, 0)]
    assert places(rows, "code") == [(1, 0), (2, 0)]


def test_a_duplicate_counts_once_as_exact_or_near() -> None:
    rows = [
        QualityCandidate(LONG, "f()"),
        QualityCandidate(LONG, "f()"),
        QualityCandidate(LONG + " please", "f()"),
    ]
    both = [(mark.row, mark.filter) for mark in marks(rows, "exact", "near", near=0.7)]
    assert both == [(1, "exact"), (2, "near")]
    assert places(rows, "near", near=0.7) == [(1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (QualityCandidate("Reverse the string `s`!", "x()"), "request"),
        (QualityCandidate("turn round", "s[ ::-1 ]"), "answer"),
        (QualityCandidate("turn round", "x()", question="77"), "question"),
        (QualityCandidate("now " + LONG, "x()"), "words"),
        (QualityCandidate("turn round", "x()", rationale="We " + LONG), "words"),
        (QualityCandidate("turn round", "x()", augmentation="We " + LONG), "words"),
        (QualityCandidate("turn round", "print(a, b, c, d, e, f, g, h, i)"), "code"),
        (QualityCandidate("reverse a string", "x()"), ""),
        (QualityCandidate("sum the squares of all even numbers", "x()"), ""),
        (QualityCandidate("", ""), ""),
    ],
)
def test_contamination(row: QualityCandidate, kind: str) -> None:
    test = [("reverse the string `s`", "s[::-1]", "77"), (LONG, "a, b, c, d, e, f, g, h", "78")]
    marked = marks([row], "contamination", test=test)
    assert [mark.kind for mark in marked] == ([kind] if kind else [])
    if kind in {"answer", "code"}:
        assert not marks([row], "contamination", test=test, contamination={"answers": False})


def test_an_overlap_shows_all_words_in_a_row() -> None:
    split = TestSplit(Contamination(ngram=3))
    split.add(4, "one two three four five", "")
    overlap = split.overlap("zero ONE two, three four six", "", "", "")
    assert overlap
    assert (overlap.kind, overlap.other, overlap.shared) == ("words", 4, ("one", "two", "three", "four"))


@given(TEXTS, st.integers(1, 5))
def test_ngrams_are_all_runs(text: str, n: int) -> None:
    text_words = words(text)
    runs = ngrams(text_words, n)
    assert len(runs) == max(0, len(text_words) - n + 1)
    assert all(" ".join(run) in " ".join(text_words) for run in runs)


def test_agreement_length_script_and_hints() -> None:
    rows = [
        QualityCandidate("sort x", "sorted(x)", "It sorts the list. The answer is sorted(x)", agreement=0.4),
        QualityCandidate("sort x", "sorted(x)", "Short", agreement=0.6),
        QualityCandidate("упорядочить x", "sorted(x)", "Список сортируется. The answer is sorted(x)"),
        QualityCandidate("sort x", "sorted(x)", "As the hint says, the answer is sorted(x)"),
        QualityCandidate("sort x", "sorted(x)", "It sorts the list x", leaks=True),
        QualityCandidate("sort x", "sorted(x)", "It \x01\x02\x03\ufffd\ufffd the list x"),
    ]
    marked = {(mark.row, mark.filter) for mark in marks(rows, "agreement", "length", "script", "hint_leak")}
    assert marked == {
        (0, "agreement"), (1, "length"), (2, "script"), (3, "hint_leak"), (4, "hint_leak"), (5, "script"),
    }  # fmt: skip
    assert places(rows, "agreement", agreement=0.3) == []
    assert [index for index, _ in places(rows, "script", script={"name": "cyrillic", "least": 0.5})] == [
        0, 1, 3, 4, 5,
    ]  # fmt: skip
    assert share_in_script("1 + 2", "latin") == 1.0


@given(st.lists(st.builds(QualityCandidate, TEXTS, TEXTS, TEXTS), max_size=20), st.integers(0, 20))
def test_later_rows_change_no_mark(rows: list[QualityCandidate], count: int) -> None:
    """Right rows go in first: the others cannot cast one out. Near ones are told by all rows at once."""
    names = [name for name in FILTERS if name != "near"]
    first = marks(rows[:count], *names)
    assert [mark for mark in marks(rows, *names) if mark.row < count] == first


def test_settings_have_short_forms(tmp_path: Path) -> None:
    quality = {"exact": True, "near": 0.9, "contamination": {"ngram": 10}, "length": False, "script": "greek"}
    experiment = load(tmp_path, {**MINIMAL, "quality": quality}).quality
    assert experiment.heeded == ("exact", "near", "contamination", "script")
    assert experiment.near
    assert experiment.near.threshold == 0.9
    assert experiment.script
    assert (experiment.script.name, experiment.script.least) == ("greek", 0.9)
    assert load(tmp_path, MINIMAL).quality.heeded == ()
    assert "did you mean" in refusal(tmp_path, {**MINIMAL, "quality": {"nears": True}})
    assert "least 9 is above most 3" in refusal(
        tmp_path, {**MINIMAL, "quality": {"length": {"least": 9, "most": 3}}}
    )
    assert "quality.near" in refusal(tmp_path, {**MINIMAL, "quality": {"near": 7}})
