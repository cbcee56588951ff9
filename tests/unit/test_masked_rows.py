"""Rows that differ from test rows in literals and names only, and rows that differ in more."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.correctness import form_of
from models.core.experiment.quality_filters import Quality
from models.core.quality.filters import Filters, QualityCandidate
from models.core.quality.masked_rows import MaskedTestSplit, masked_code, masked_text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sorted(a, key=lambda x: x[1])", "sorted(b, key=lambda pair: pair[-2])", True),
        ("re.sub('a+', '', s).strip()", 're.sub("b", "c", text).strip()', True),
        ("open('f.txt', mode='w').write(f'{x}')", "open(\"g\", mode='a').write('y')", True),
        ("max(a.items(), key=len)", "max(b.items(), key=len)", True),
        ("sorted(a, reverse=True)", "sorted(a, reverse=False)", False),
        ("sorted(a, key=len)", "sorted(a, reverse=len)", False),
        ("zip(a.x, b)", "zip(a.x, a)", False),
        ("re.sub('a', 'b', s).x", "re.findall('a', 'b', s).x", False),
        ("a.lower().strip()", "a.upper().strip()", False),
        ("curl -o 'a.txt' http", "curl -o 'b.txt' http", True),
    ],
)
def test_code_is_masked(one: str, other: str, same: bool) -> None:
    assert (masked_code(one) == masked_code(other) != "") is same


@pytest.mark.parametrize("code", ["x[0]", "a = 5", "a.sort()", "", "(", "-" * 99999 + "1"])
def test_code_that_names_little_has_no_masked_form(code: str) -> None:
    assert masked_code(code) == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Reverse the string `a`", "reverse the string 'hello world'", True),
        ("Tom has 3 apples and eats 1.", "Tom has 1,200 apples and eats 7.", True),
        ("unpack the archive {{file}} here", "unpack the archive {{path/to/a}} here", True),
        ("Tom has 3 apples and eats 1.", "Tom has 3 pears and eats 1.", False),
        ("sort `a`", "sort `b`", False),
        ("what is the sha256 of it", "what is the sha512 of it", False),
    ],
)
def test_text_is_masked(one: str, other: str, same: bool) -> None:
    assert (masked_text(one) == masked_text(other) != "") is same


TEST = ("reverse the string `s` in place", "print(''.join(reversed('abc')))")


@pytest.mark.parametrize(
    ("request_", "answer", "overlap"),
    [
        ("reverse the string 'x' in place", "print(''.join(reversed('x')))", ("row", 3)),
        ("reverse the string `s` in place", "print(''.join(reversed('x')))", ("row", 3)),
        ("reverse the string 'x' in place", "x[::-1]", ("request", 3)),
        ("turn it round", "print('-'.join(reversed(word)))", None),
        ("turn it round", "print('-'.join(reversed('word')))", ("answer", 3)),
        # The same to the letter is for the filter `contamination`.
        (*TEST, None),
        (TEST[0], "x[::-1]", None),
        ("turn it round", TEST[1], None),
        ("", "", None),
    ],
)
def test_overlap_but_for_literals(request_: str, answer: str, overlap: tuple[str, int] | None) -> None:
    split = MaskedTestSplit()
    split.add(3, *TEST)
    assert split.overlap(request_, answer) == overlap


def test_filter_marks_rows_of_any_task() -> None:
    test = [("Tom has 3 apples and eats 1.", "2", "")]
    filters = Filters(Quality(), ("contamination", "masked"), test, form_of("number"), open_file=BytesIO)
    requests = ("Tom has 5 apples and eats 2.", "Ann has 5 pears.", "Tom has 3 apples and eats 1.")
    rows = [QualityCandidate(request, "3") for request in requests]
    for row in rows:
        filters.add(row)
    marks = [(mark.row, mark.filter, mark.kind, mark.other, mark.why) for mark in filters.marks(rows)]
    assert marks == [
        (0, "masked", "request", 0, "the request of a test row, but for literals and names"),
        (2, "contamination", "request", 0, "same request as the test row"),
    ]


@given(st.text(max_size=60))
def test_arbitrary_text_is_masked(text: str) -> None:
    assert masked_text(text) == masked_text(text)
    assert masked_code(text) == masked_code(text)
