"""The passages that are shown of recorded hits, and their form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.experiment.passages import Passages, Selection
from models.core.pipeline.grid import Searches
from models.core.retrieval.passage_selection import (
    cut_passage,
    first_sentence,
    format_passages,
    hit_record,
    hits_from_records,
    passage_line,
    search_depth,
    shown_hits,
)
from models.core.types import Hit, Passage

CHAIN = Passage(
    "itertools.chain", "itertools.chain", "itertools.chain(*iterables)",
    "Yield from each in turn. When one ends, the next begins.", "python",
)  # fmt: skip
JOIN = Passage("os.path.join", "os.path.join()", "(a, /, *p)", "Join two or more path components.")
SEED = Passage("", "", "", "Some text. And more.")


def hit(name: str, score: float, text: str = "") -> Hit:
    return Hit(Passage(name, name, "", text or f"About {name}."), score)


def names(hits: Sequence[Hit], **config: Any) -> list[str]:
    return [hit.passage.name for hit in shown_hits(hits, Selection(**config))]


HITS = [hit("a", 0.9), hit("b", 0.6), hit("c", 0.5), hit("d", 0.2)]


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({}, "abc"),
        ({"top_k": 1}, "a"),
        ({"top_k": 9}, "abcd"),
        ({"min_score": 0.6}, "ab"),
        ({"min_score": 0.91}, ""),
        ({"relative_score": 0.55}, "abc"),
        ({"relative_score": 0.6}, "ab"),
        ({"relative_score": 1.0}, "a"),
        ({"relative_score": 0.1, "min_score": 0.55}, "ab"),
        ({"top_k": 4, "order": "best_last"}, "abcd"),
        ({"control": "random", "top_k": 1, "min_score": 0.91}, "abcd"),
    ],
)
def test_scores_and_number_decide(config: dict[str, Any], shown: str) -> None:
    assert "".join(names(HITS, **config)) == shown


def test_no_hits_show_no_passages() -> None:
    assert names([], relative_score=0.5, distinct=True, token_budget=1) == []


def test_negative_scores_have_shares_too() -> None:
    below = [hit("a", -1.0), hit("b", -1.4), hit("c", -1.6)]
    assert names(below, relative_score=0.5) == ["a", "b"]


def test_the_next_in_line_takes_the_place_of_a_duplicate() -> None:
    hits = [hit("a", 4, "Same  words."), hit("b", 3, "Same words."), hit("a", 2, "Other words."), hit("c", 1)]
    assert names(hits, top_k=2) == ["a", "b"]
    assert names(hits, top_k=2, distinct=True) == ["a", "c"]
    nameless = [Hit(Passage("1", "", "", "one"), 2), Hit(Passage("2", "", "", "two"), 1)]
    assert len(shown_hits(nameless, Selection(distinct=True))) == 2


def test_the_budget_counts_what_is_shown() -> None:
    hits = [Hit(CHAIN, 2), Hit(JOIN, 1)]
    whole = sum(len(part) for part in (CHAIN.name, CHAIN.signature, CHAIN.text))
    assert names(hits, token_budget=-(-whole // 4)) == ["itertools.chain"]
    assert names(hits, token_budget=whole // 4 - 1) == []
    # What no longer fits ends the list, although what follows would.
    assert names([hit("long", 2, "x" * 400), hit("b", 1)], token_budget=20) == []
    short = len("itertools.chain(*iterables)") + len("os.path.join(a, /, *p)")
    assert len(names(hits, token_budget=-(-short // 4), form="signature")) == 2
    assert len(names(hits, token_budget=-(-short // 4), form="signature", labelled=True)) == 2


@given(
    st.lists(st.builds(hit, st.sampled_from("abcdef"), st.floats(-2, 2)), max_size=12),
    st.builds(
        Selection,
        top_k=st.integers(1, 5),
        min_score=st.none() | st.floats(-2, 2),
        relative_score=st.none() | st.floats(0.1, 1),
        distinct=st.booleans(),
        token_budget=st.none() | st.integers(1, 30),
    ),
)
def test_shown_hits_are_some_of_the_found_in_their_order(hits: list[Hit], config: Selection) -> None:
    ranked = sorted(hits, key=lambda candidate: -candidate.score)
    shown = shown_hits(ranked, config)
    places = [next(index for index, candidate in enumerate(ranked) if candidate is each) for each in shown]
    assert places == sorted(places)
    assert len(shown) <= config.top_k
    # What was chosen once is chosen again: runs of earlier releases recorded no more than was shown.
    assert shown_hits(shown, config) == shown


def test_more_is_recorded_where_duplicates_are_left_out() -> None:
    assert search_depth(Selection(top_k=4)) == 4
    assert search_depth(Selection(top_k=4, distinct=True)) > 8


def test_records_bring_back_what_was_found() -> None:
    hits = [Hit(CHAIN, 0.123456789, {"dense": 0.5}), Hit(JOIN, -1.0)]
    assert hits_from_records(map(hit_record, hits)) == [Hit(CHAIN, 0.123457, {"dense": 0.5}), Hit(JOIN, -1.0)]
    [old] = hits_from_records(
        [{"id": "a", "name": "a", "signature": "", "text": "t", "library": "", "score": 0.5}]
    )
    assert (old.score, old.scores) == (0.5, {})


@pytest.mark.parametrize(
    ("config", "lines"),
    [
        (
            {},
            [
                "itertools.chain(*iterables): Yield from each in turn. When one ends, the next begins.",
                "os.path.join(a, /, *p): Join two or more path components.",
                "Some text. And more.",
            ],
        ),
        (
            {"form": "first_sentence", "order": "best_last"},
            [
                "Some text. And more.",
                "os.path.join(a, /, *p): Join two or more path components.",
                "itertools.chain(*iterables): Yield from each in turn.",
            ],
        ),
        (
            {"form": "signature"},
            ["itertools.chain(*iterables)", "os.path.join(a, /, *p)", "Some text. And more."],
        ),
        (
            {"labelled": False, "form": "first_sentence"},
            ["Yield from each in turn. Join two or more path components. Some text. And more."],
        ),
        (
            {"labelled": False, "order": "best_last", "form": "first_sentence"},
            ["Some text. And more. Join two or more path components. Yield from each in turn."],
        ),
    ],
)
def test_selection_form_decides_the_text_shown(config: dict[str, Any], lines: list[str]) -> None:
    selection = Selection(**config)
    assert [passage_line(passage) for passage in format_passages([CHAIN, JOIN, SEED], selection)] == lines
    assert format_passages([], selection) == ()


def test_the_usual_form_changes_nothing() -> None:
    assert format_passages([CHAIN, SEED], Selection()) == (CHAIN, SEED)
    assert cut_passage(CHAIN, Selection()) is CHAIN


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("Is it? Yes.", "Is it?"),
        ("Use e.g. Path or i.e. PurePath here. Then more.", "Use e.g. Path or i.e. PurePath here."),
        ("Version 3.11 has os.path. `x` is more.", "Version 3.11 has os.path."),
        ("ends in. lower case", "ends in. lower case"),
        ("no end", "no end"),
        ("", ""),
    ],
)
def test_first_sentence(text: str, first: str) -> None:
    assert first_sentence(text) == first


def test_alternatives_that_search_alike_share_a_unit() -> None:
    alternatives = {
        "short": {"form": "signature"},
        "z": {"method": "bm25"},
        "b": {"method": "bm25", "top_k": 7},
        "noise": {"control": "random"},
        "noise-last": {"control": "random", "order": "best_last"},
        "noise-one": {"control": "random", "top_k": 1},
        "all": {"distinct": True},
    }
    for order in (alternatives, dict(reversed(alternatives.items()))):
        searches = Searches.read(Passages.model_validate({"alternatives": order}))
        assert searches.search_of == {
            "retrieval": "", "short": "", "all": "", "z": "b", "b": "b",
            "noise": "noise", "noise-last": "noise", "noise-one": "noise-one",
        }  # fmt: skip
        assert searches.unit_name("raw", "short") == "raw"
        assert searches.unit_name("augmented", "z") == "augmented/b"
        wording, config, most = searches.parse_unit_name("raw")
        assert (wording, config.method, most) == ("raw", "dense", search_depth(Selection(distinct=True)))
        wording, config, most = searches.parse_unit_name("augmented/b")
        assert (wording, config.method, most) == ("augmented", "bm25", 7)
