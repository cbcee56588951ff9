"""Passages whose names are alike are in one group."""

from __future__ import annotations

import pytest

from models.core.retrieval.name_groups import group_names, owner_and_last, page_of
from models.core.types import Passage

PASSAGES = [
    Passage("python.library.stdtypes#str.split", "str.split()", "", "", "python"),
    Passage("python.library.stdtypes#str.join", "str.join()", "", "", "python"),
    Passage("python.library.re#re.split", "re.split()", "", "", "python"),
    Passage("pandas.reference.api.pandas.series", "pandas.Series", "", "", "pandas"),
]


def test_names_are_split_into_owner_and_last_part() -> None:
    assert owner_and_last(PASSAGES[0]) == ("str", "split")
    assert owner_and_last(Passage("python.library.functions#len", "len()", "", "")) == ("", "len")


@pytest.mark.parametrize(
    ("identifier", "page"),
    [
        ("python.library.re#re.sub", "python.library.re"),
        ("numpy.reference.generated.numpy.arange", "numpy.reference.generated.numpy"),
        ("alone", ""),
    ],
)
def test_pages_are_read_from_ids(identifier: str, page: str) -> None:
    assert page_of(Passage(identifier, "name", "", "")) == page


def test_each_kind_groups_what_is_alike() -> None:
    groups = group_names(PASSAGES)
    assert groups.page.tolist() == [0, 0, 1, 2]
    assert groups.owner.tolist() == [0, 0, 1, 2]
    assert groups.last.tolist() == [0, 1, 0, 2]


def test_owners_of_one_name_in_two_libraries_differ() -> None:
    same = [Passage("a.f", "f", "", "", "a"), Passage("b.f", "f", "", "", "b")]
    assert group_names(same).owner.tolist() == [0, 1]
