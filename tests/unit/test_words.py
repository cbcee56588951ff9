"""Requests as retrieval reads them."""

from __future__ import annotations

import pytest

from models.core.words import augmentation_steps, terms, without_literals


@pytest.mark.parametrize(
    ("request_", "left"),
    [
        ("sort list `xs` by key 'age'", "sort list by key"),
        ('print "a b" twice', "print twice"),
        ("`xs`", "`xs`"),
        ("don't touch", "don't touch"),
        ("", ""),
    ],
)
def test_literals_leave_the_request(request_: str, left: str) -> None:
    assert without_literals(request_) == left


def test_identifiers_are_taken_apart_and_endings_dropped() -> None:
    assert terms("os.path.joinPaths sorting 3 entries_of") == ["os", "path", "join", "path", "sort", "3",
                                                               "entr", "of"]  # fmt: skip


@pytest.mark.parametrize(
    ("augmentation", "clauses"),
    [
        ("This requires opening `f`, reading its lines, and closing it.",
         ["opening `f`", "reading its lines", "closing it"]),
        ("This requires sorting and printing", ["sorting", "printing"]),
        ("", []),
    ],
)  # fmt: skip
def test_steps_of_an_augmentation(augmentation: str, clauses: list[str]) -> None:
    assert augmentation_steps(augmentation) == clauses
