"""The structure of the product stays plain: one name for one thing, no cycles, no file that keeps growing."""

from __future__ import annotations

import re

import pytest

from tests import structure
from tests.structure import read_modules
from tests.support.pages import REPOSITORY

MODULES = read_modules(REPOSITORY)
# One idea at two layers: a command and what it prints or asks for, a table and its commands.
SAME_IDEA = {"__main__.py", "generate.py", "history.py", "quality.py", "runs.py"}
MAX_GLOSSARY = 25


def test_no_file_name_stands_twice() -> None:
    assert set(structure.repeated(structure.file_names(MODULES))) <= SAME_IDEA


def test_no_class_name_stands_twice() -> None:
    assert structure.repeated(structure.class_names(MODULES)) == []


def test_no_import_cycle() -> None:
    assert structure.cycles(structure.imported(MODULES)) == []


def test_a_cycle_is_seen() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert structure.cycles(graph) == [{"a", "b", "c"}]


@pytest.mark.parametrize("name", MODULES)
def test_names_and_docstrings_say_what_things_are(name: str) -> None:
    assert structure.vague_names(MODULES[name]) == []
    assert structure.vague_docstrings(MODULES[name]) == []


def test_the_glossary_is_short_and_the_only_one() -> None:
    heading = re.compile(r"^\| word \|", re.MULTILINE)
    glossary = REPOSITORY / "producer" / "CONCEPTS.md"
    pages = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("[a-z]*/*.md"))]
    assert [page for page in pages if heading.search(page.read_text("utf-8"))] == [glossary]
    rows = glossary.read_text("utf-8").split("| word |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    assert 10 <= len(rows) <= MAX_GLOSSARY
