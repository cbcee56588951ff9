"""Scores against the paper's published answers, sacrebleu, and worked examples."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from models.core.metrics.scores import comparable_texts, row_stats, score
from models.core.metrics.seed_scores import intervals
from models.core.metrics.text_metrics import (
    bleu4,
    bleu_stats,
    char_bleu,
    char_bleu_stats,
    chrf_stats,
    code_tokens,
    corpus_bleu,
    corpus_chrf,
)
from models.core.programs import parse_python

TEXT = st.text(max_size=60) | st.text(alphabet="ab. '\"\n\\(", max_size=40)
Published = tuple[str, list[dict[str, str]], dict[str, float]]
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def published(reference_data: Path) -> list[Published]:
    """Name, rows and expected scores of each published set of answers."""
    paper = reference_data / "paper"
    expected = json.loads((paper / "expected_visible_scores.json").read_text())
    files = {path.stem: path.read_text() for path in (paper / "completions_visible").glob("*.jsonl")}
    assert files.keys() == expected.keys()
    return [
        (name, [json.loads(line) for line in files[name].splitlines()], scores)
        for name, scores in expected.items()
    ]


def test_scores_of_the_papers_answers_agree_to_two_decimals(
    published: list[Published],
) -> None:
    assert len(published) == 16
    for name, rows, expected in published:
        scores = score([row["prediction"] for row in rows], [row["reference"] for row in rows])
        rounded = {metric: round(scores[metric], 2) for metric in expected if metric != "n"}
        assert {"n": len(rows), **rounded} == expected, name


def test_intervals_hold_their_score(
    published: list[Published],
) -> None:
    _, rows, _ = published[0]
    stats = [row_stats(row["prediction"], row["reference"]) for row in rows]
    scores = score([row["prediction"] for row in rows], [row["reference"] for row in rows])
    bounds = intervals(stats, seed=7)
    assert bounds.keys() == scores.keys()
    for metric, (low, high) in bounds.items():
        assert 0 <= low < scores[metric] < high <= 100, metric


@pytest.mark.parametrize(
    ("code", "tokens"),
    [
        ("df.dropNa(how='any')", ["df", ".", "drop", "Na", "(", "how", "=", "`", "any", "`", ")"]),
        ('x_1 = "a"', ["x_1", "=", "`", "a", "`"]),
        ("HTTPServer\taB\n é", ["HTTPServer", "a", "B", "é"]),
        ("", []),
    ],
)
def test_code_tokens(code: str, tokens: list[str]) -> None:
    assert code_tokens(code) == tokens


def test_bleu4_by_hand() -> None:
    # 5 tokens against 6: precisions 5/5, 4/4, 3/3, 2/2, brevity exp(1 - 6/5).
    assert bleu4(["a b c d e"], ["a b c d e f"]) == pytest.approx(100 * math.exp(1 - 6 / 5))
    # 6 against 5: precisions 5/6, 4/5, 3/4, 2/3, no reward for length.
    expected = 100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert bleu4(["a b c d e f"], ["a b c d e"]) == pytest.approx(expected)


def test_bleu4_clips_repeated_ngrams_and_is_not_smoothed() -> None:
    assert bleu_stats("a a a a", "a a b").tolist() == [4, 3, 2, 1, 0, 0, 4, 3, 2, 1]
    assert bleu4(["a a a a"], ["a a b"]) == 0


def test_bleu4_is_of_the_corpus_not_a_mean_of_rows() -> None:
    predictions, references = ["a b c d", "x"], ["a b c d", "y"]
    assert bleu4(predictions, references) == pytest.approx(100 * (4 / 5) ** 0.25)


@settings(deadline=None)
@given(PAIRS)
def test_char_bleu_equals_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    theirs = BLEU(tokenize="char").corpus_score([a for a, _ in pairs], [[b for _, b in pairs]]).score
    sums = sum(char_bleu_stats(*pair) for pair in pairs)
    assert char_bleu(sums) == theirs
    assert float(corpus_bleu(sums, smooth=True)) == pytest.approx(theirs, abs=1e-9)


@settings(deadline=None)
@given(PAIRS)
def test_chrf_equals_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    theirs = CHRF().corpus_score([a for a, _ in pairs], [[b for _, b in pairs]]).score
    sums = sum(chrf_stats(*pair) for pair in pairs)
    assert float(corpus_chrf(sums)) == pytest.approx(theirs, abs=1e-9)


@settings(deadline=None)
@given(PAIRS)
def test_corpus_bleu_scores_many_corpora_at_once(pairs: list[tuple[str, str]]) -> None:
    rows = [bleu_stats(*pair) for pair in pairs]
    assert corpus_bleu(rows).tolist() == pytest.approx([bleu4([a], [b]) for a, b in pairs])


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "normalised", "tree"),
    [
        ("f(x)", "f(x)", 100, 100, 100),
        ("f(x) ", "f(x)", 0, 100, 100),
        ("f( x )", "f(x)", 0, 0, 100),
        ("f('x')", 'f("x")', 0, 0, 100),
        ("a b\n c", "a  b c", 0, 100, 100),
        ("F(x)", "f(x)", 0, 0, 0),
    ],
)
def test_match_metrics_by_hand(
    prediction: str, reference: str, exact: float, normalised: float, tree: float
) -> None:
    scores = score([prediction], [reference])
    assert (scores["exact_match"], scores["normalised_match"], scores["tree_match"]) == (
        exact,
        normalised,
        tree,
    )


def test_parse_rate_counts_what_python_accepts() -> None:
    predictions = ["print(1)", "print 1", "x = '\\d'", "The answer"]
    assert score(predictions, predictions)["parse_rate"] == 50


@pytest.mark.parametrize(
    ("rule", "prediction", "judged"),
    [
        ("paper", "The answer is `f(x)`.", "The answer is `f(x)`."),
        ("strict", "f(y). The answer is `f(x)`.", "f(x)"),
        ("strict", " `f(x)`.", "f(x)"),
        ("strict", "for x in y:\n    f(x)", "for x in y:\n    f(x)"),
    ],
)
def test_rules_decide_what_is_compared(rule: str, prediction: str, judged: str) -> None:
    assert comparable_texts(rule, prediction, "f(x)") == (judged, "f(x)")


def test_no_rows_score_zero() -> None:
    assert set(score([], []).values()) == {0}


@pytest.mark.parametrize("metric", [bleu4, score])
def test_rows_without_a_partner_are_an_error(metric: Callable[[list[str], list[str]], object]) -> None:
    with pytest.raises(ValueError, match="shorter"):
        metric(["a", "b"], ["a"])


@settings(deadline=None)
@given(
    st.lists(st.text(min_size=4, alphabet="abcXYZ_(.").map("call one (two) ".__add__), min_size=1, max_size=5)
)
def test_identical_lists_score_100(answers: list[str]) -> None:
    scores = score(answers, list(answers))
    metrics = ("bleu4", "char_bleu", "exact_match", "chrf", "tree_match")
    assert [scores[metric] for metric in metrics] == pytest.approx([100] * len(metrics))


@settings(deadline=None)
@given(PAIRS)
def test_score_accepts_arbitrary_strings(pairs: list[tuple[str, str]]) -> None:
    scores = score([a for a, _ in pairs], [b for _, b in pairs])
    for value in scores.values():
        assert 0 <= value <= 100 + 1e-9


@pytest.mark.parametrize("text", ["f(x)", "", "'\\d'", "[" * 90 + "]" * 90])
def test_valid_python_is_parsed(text: str) -> None:
    """Warnings are errors here: "\\d" would be one."""
    assert parse_python(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "f(",
        "\0",
        "x = \0",
        "\ud800",
        "1" * 9999,
        "(" * 9999,
        "-" * 9999 + "1",
        "a" + ".b" * 9999,
        "not " * 9999,
    ],
    ids=range(9),
)
def test_invalid_python_is_not_parsed(text: str) -> None:
    assert parse_python(text) is None
    assert score([text], [text])["exact_match"] == 100
