"""The source code that is read depends on what is installed alone, and there is no more than is asked for."""

from __future__ import annotations

from itertools import islice

from producer.index.installed_source import installed_source


def test_as_many_files_as_passages_are_read_from_each_folder() -> None:
    assert len(list(installed_source(3))) == 6
    assert list(installed_source(0)) == []


def test_fewer_files_are_a_part_of_more() -> None:
    assert list(installed_source(2))[:2] == list(islice(installed_source(5), 2))
