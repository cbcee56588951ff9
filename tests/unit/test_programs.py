"""Answers of every shape become the function that their tests call."""

from __future__ import annotations

from typing import Any

import pytest

from models.core.programs import Program, build_program
from models.core.types import AnswerTests

VALUE = AnswerTests("", "f", "def f(l):\n\treturn ", "")
VARIABLE = AnswerTests("", "f", "def f(l):\n\t", "\n\treturn l")
OTHER = AnswerTests("", "f", "def f(l):\n\t", "\n\treturn r")
EFFECT = AnswerTests("", "f", "def f(l):\n\t", "\n\treturn ")


def call(made: Program, *args: Any) -> Any:
    """Return what the function of a program returns."""
    names: dict[str, Any] = {}
    exec(made.setup, names)
    exec(made.answer, names)
    return names[made.entry_point](*args)


@pytest.mark.parametrize(
    "answer",
    [
        "sorted(l)",
        "  sorted(l)",
        "return sorted(l)",
        "result = sorted(l)",
        "result: list = sorted(l)",
        "a = b = sorted(l)",
        "import operator\nsorted(l)",
        "l.sort()\nl",
        "l = list(l)\nl.sort()\nprint(l)",
        "print(sorted(l))",
        "def order(values):\n    return sorted(values)",
        "def f(l):\n    return sorted(l)",
        "def order():\n    return [1, 2, 3]",
        "result = []\nfor each in sorted(l):\n    result.append(each)\nresult",
        "with open('/dev/null') as nothing:\n    sorted(l)",
        "if l:\n    result = sorted(l)\nelse:\n    result = []",
        "try:\n    result = sorted(l)\nexcept TypeError:\n    result = []",
    ],
)
def test_program_returns_the_value_of_its_last_expression(
    answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(build_program(answer, VALUE), [3, 1, 2]) == [1, 2, 3]
    assert capsys.readouterr().out == ("[1, 2, 3]\n" if "print" in answer else "")


@pytest.mark.parametrize(
    "answer",
    [
        "l.sort()",
        "l = sorted(l)",
        "l[:] = sorted(l)",
        "sorted(l)",
        "print(sorted(l))",
        "result = sorted(l)",
        "for _ in l:\n\t    l.sort()",
        "def order(l):\n    return sorted(l)",
        "if len(l) > 1:\n\t    l.sort()\n\telse:\n\t    pass",
    ],
)
def test_program_returns_the_variable_or_its_replacement(answer: str) -> None:
    assert call(build_program(answer, VARIABLE), [3, 1, 2]) == [1, 2, 3]


@pytest.mark.parametrize("answer", ["r = sorted(l)", "sorted(l)", "x = sorted(l)"])
def test_program_returns_a_new_variable(answer: str) -> None:
    assert call(build_program(answer, OTHER), [3, 1, 2]) == [1, 2, 3]


def test_pop_returns_the_list_as_variable_and_the_item_as_value() -> None:
    assert call(build_program("l.pop()", VARIABLE), [3, 1, 2]) == [3, 1]
    assert call(build_program("l.pop()", VALUE), [3, 1, 2]) == 2


def test_in_place_program_returns_none() -> None:
    given = [3, 1, 2]
    assert call(build_program("l.sort()", EFFECT), given) is None
    assert given == [1, 2, 3]


def test_a_loop_variable_of_a_comprehension_is_not_the_result() -> None:
    answer = "result = 1\nif l:\n    result = [each for each in l]"
    assert call(build_program(answer, VALUE), [3]) == [3]


@pytest.mark.parametrize(
    "answer",
    [
        "def r(values):\n    return sorted(values)",
        "async def r(values):\n    return sorted(values)",
        "class r:\n    size = 3",
        "import operator as r",
        "from operator import add as r",
        "import r.path",
        "match l:\n    case [r, *rest]:\n        pass",
    ],
)
def test_program_returns_what_the_answer_binds_to_the_name(answer: str) -> None:
    """The function of the task returns `r`, which the answer defines, imports or matches."""
    assert build_program(answer, OTHER).answer.splitlines()[-1].strip() == "return r"


def test_names_inside_of_functions_and_classes_are_not_the_result() -> None:
    for inner in ("def order():\n    r = 1\n    return [2]", "class order:\n    r = 1\norder.r"):
        assert not build_program(inner, OTHER).answer.rstrip().endswith("return r")


def test_prefix_of_the_function_is_kept() -> None:
    tests = AnswerTests("", "f", 'import json\n\n\ndef f(text):\n    """Read it."""\n', "")
    made = build_program("return json.loads(text)", tests)
    assert made.setup == "import json\n"
    assert call(made, "[1]") == [1]
    complete = build_program("def f(text):\n    return json.loads(text)", tests)
    assert call(complete, "[2]") == [2]


@pytest.mark.parametrize(
    "answer",
    ["    l = list(l)\n    l.sort()\n    return l", "return sorted(l)", "sorted(l)", "r = sorted(l)"],
)
def test_body_with_a_return_is_kept(answer: str) -> None:
    tests = AnswerTests("", "f", 'def f(l):\n    """Sort `l`."""\n', "")
    assert call(build_program(answer, tests), [3, 1, 2]) == [1, 2, 3]


def test_without_a_function_the_answer_is_the_module() -> None:
    made = build_program("def add(a, b):\n    return a + b", AnswerTests("assert add(1, 2) == 3"))
    assert made == Program("def add(a, b):\n    return a + b\n", "assert add(1, 2) == 3")


@pytest.mark.parametrize("answer", ["sorted(l", "", "\0", "I do not know.", "(" * 1000 + ")" * 1000])
def test_answer_that_is_no_python_is_inserted_as_it_is(answer: str) -> None:
    made = build_program(answer, VALUE)
    assert made.entry_point == "f"
    assert answer in made.answer or "def f(l)" in made.answer


def test_prefix_that_is_no_python_is_inserted_as_it_is() -> None:
    assert (
        build_program("l", AnswerTests("", "f", "def f(l:\n  return ", "")).answer == "def f(l:\n  return l\n"
    )
