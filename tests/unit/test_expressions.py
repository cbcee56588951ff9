"""Prompts over columns: what they can read and show, and what no template can do."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.prompts.column_sandbox import OWN_FILTERS
from models.core.prompts.column_values import ExpressionError
from models.core.prompts.expressions import ROW, Condition, PromptText, condition, prompt_text
from models.core.prompts.templates import LONGEST_PROMPT, LONGEST_SOURCE
from tests.support.pages import PAGES, REFERENCE, section

ROWS: dict[str, Any] = {
    "question": "Why?", "level": 3, "share": 0.5, "hard": True, "tags": ["a", None, {"b": 1}],
    "meta": {"source": "exam", "items": 7, "none": None}, "note": None, "my column": "ü",
    "вопрос": "да", "objects": [None, {"b": 1}],
}  # fmt: skip
LONG = "a" * 100_000


def render(source: str, **columns: Any) -> str:
    return PromptText(source).render(columns)


def refusal(source: str, **columns: Any) -> str:
    """The one line that says what is wrong with a prompt."""
    with pytest.raises(ExpressionError) as error:
        render(source, **columns)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ question }} {{ level }} {{ share }} {{ hard }}", "Why? 3 0.5 true"),
        ("{{ tags }}", '["a", null, {"b": 1}]'),
        ("{{ meta }}", '{"source": "exam", "items": 7, "none": null}'),
        ("{{ note }}|{{ meta.none }}|{{ note.of.a.null }}", "||"),
        ('{{ row["my column"] }} {{ row.level }} {{ вопрос }}', "ü 3 да"),
        ("{{ meta.source }} {{ meta['items'] }} {{ tags[0] }} {{ tags[-1].b }}", "exam 7 a 1"),
        ("{% for tag in tags %}{{ loop.index }}{{ tag }}{{ '' if loop.last else ',' }}{% endfor %}",
         '1a,2,3{"b": 1}'),
        ("{% for tag in objects %}{{ tag.b }},{% endfor %}", ",1,"),
        ("{% if hard and level > 2 %}\nhard\n{% endif %}\n!", "hard\n!"),
        ("{{ note | default('nothing') }} {{ note | length }} {{ note ~ 'x' ~ level }}", "nothing 0 x3"),
        ("{{ tags | join('; ') }} {{ question | replace('?', '!') }}", 'a; ; {"b": 1} Why!'),
        ("{{ meta | tojson }} {{ '<é>' | tojson }}",
         '{"source": "exam", "items": 7, "none": null} "<é>"'),
        ("{{ 2.6 | round }} {{ 2.64 | round(1) }} {{ level * 2 + 1 }} {{ level % 2 }}", "3 2.6 7 1"),
        ("{{ question[:2] }} {{ question | upper | lower }} {{ level | float }}", "Wh why? 3.0"),
        ("{% for each in row %}{{ each }},{% endfor %}", ",".join(ROWS) + ","),
    ],
)  # fmt: skip
def test_columns_of_each_type_are_shown(source: str, text: str) -> None:
    assert render(source, **ROWS, row=ROWS) == text


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        ("{{ question }} {{ meta.x }}", {"question", "meta"}),
        ('{{ row["my column"] }} {{ row.level }}', {"my column", "level"}),
        ('{{ row["level"] }} {{ row }}', {"level", ROW}),
        ("{% for tag in tags %}{{ tag }}{{ loop.index }}{% endfor %}", {"tags"}),
        ("{{ loop }}", {"loop"}),
        ("plain", set()),
    ],
)
def test_a_prompt_knows_the_columns_that_it_reads(source: str, columns: set[str]) -> None:
    assert PromptText(source).columns == columns


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ questoin }}", "the row has no column questoin"),
        ("{{ meta.sauce }}", "an object has no sauce, it has source, items, none"),
        ("{{ question.upper }}", "a text has no upper"),
        ("{{ tags[9] }}", "a list has no 9"),
        ("{{ question * 3 }}", "* takes numbers, found a text and a number"),
        ("{{ 1 // 0 }}", "integer division or modulo by zero"),
        ("{{ level < question }}", 'compares a number with a text: 3 < "Why?"'),
        ("{{ note + 1 }} {{ gone }}", "the row has no column gone"),
    ],
)
def test_what_cannot_be_rendered_is_said_in_a_line(source: str, message: str) -> None:
    assert refusal(source, **ROWS) == message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ question", "the text ends before"),
        ("a\n\n{{ question ! }}", "line 3: unexpected char '!'"),
        ("{{ question( ) }}", "nothing can be called"),
        ("{{ question.__class__.__mro__ }}", "a text has no __class__"),
        ("{{ question['__class__'] }}", "a text has no __class__"),
        ("{{ question | attr('upper') }}", "there is no filter attr; known are abs, capitalize"),
        ("{{ question | map('upper') }}", "there is no filter map"),
        ("{{ question is sameas question }}", "there is no test sameas"),
        ("{{ self }}", 'self is no column; read one of this name as row["self"]'),
        ("{{ self._TemplateReference__context }}", "self is no column"),
        ("{% set x = 1 %}", "variables cannot be set"),
        ("{% include 'x' %}", "other files cannot be included"),
        ("{% import 'x' as y %}", "other files cannot be included"),
        ("{% macro x() %}{% endmacro %}", "macros are not known"),
        ("{% block x %}{% endblock %}", "blocks are not known here"),
        (
            "{% for a in b %}{% for c in d %}{% endfor %}{% endfor %}",
            "a loop cannot stand within a loop",
        ),
        ("{{ level ** level }}", "there is no **"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "is nested too deeply"),
        ("{{ " + "[" * 150 + "1" + "]" * 150 + " }}", "is nested too deeply"),
        ("{{ " + "-" * 3000 + "1 }}", "is nested too deeply"),
        ("{{ " + "level + " * 2400 + "level }}", "is nested too deeply"),
        ("{{ " + "9" * 5000 + " }}", "holds a number that is too long"),
        ("x" * (LONGEST_SOURCE + 1), "is longer than 20,000 characters"),
    ],
)
def test_hostile_templates_are_refused(source: str, words: str) -> None:
    assert words in refusal(source, **ROWS)


@pytest.mark.parametrize(
    "source",
    [
        "{{ long | replace('', long) }}",
        "{{ long | replace('a', long) }}",
        "{{ long | join(long) }}",
        "{{ " + " ~ ".join(["long"] * 2000) + " }}",
        "{{ long + (long + (long + (" + "long + long) * 1)) }}",
        "{{ (many + many + many) | length }}",
        "{{ '\"' " + "| tojson " * 60 + "}}",
        "{% for each in long %}{{ long }}{% endfor %}",
        "{% for each in long %}{% if (long | replace('a', 'aa') | replace('a', 'aa') | length) %}1{% endif %}"
        "{{ long }}{% endfor %}",
        "{{ digits * digits * digits * digits }}",
        "{{ 1.5 | round(999999999, 'ceil') }}",
        "{{ many | tojson(indent=999999999) }}",
    ],
)
def test_no_template_takes_endless_work_or_memory(source: str) -> None:
    began = time.process_time()
    refusal(source, long=LONG, many=[1] * 2_000_000, digits=10**1000)
    assert time.process_time() - began < 5


def test_a_prompt_is_bounded_by_its_columns() -> None:
    assert render("{{ long }}" * 40, long=LONG) == LONG * 40
    assert len(LONG) * 41 > LONGEST_PROMPT
    assert "more than 4,000,000 characters" in refusal("{{ long }}" * 41, long=LONG)


@pytest.mark.parametrize("name", ["self", "context", "args", "kwargs", "result", "range", "caller"])
def test_columns_may_have_any_name(name: str) -> None:
    columns = {name: 3, "x": 1}
    assert PromptText('{{ row["' + name + '"] }}').render({**columns, ROW: columns}) == "3"
    assert Condition(f'x == 1 and row["{name}"] == 3').holds({**columns, ROW: columns})


def test_the_page_names_every_filter() -> None:
    page = section(PAGES[REFERENCE], "Prompts and conditions")
    assert [name for name in OWN_FILTERS if f"`{name}`" not in page] == []


def test_prompts_and_conditions_are_compiled_once() -> None:
    assert prompt_text("{{ a }} once") is prompt_text("{{ a }} once")
    assert condition("a > 17") is condition("a > 17")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
EXPRESSIONS = st.sampled_from([
    "a.b.c", "a[0]", "a < b", "a == b", "a ~ b", "a + b", "a | length", "a | join(b)", "a | replace('a', b)",
    "a | tojson", "a | round", "a | int", "a | first", "a | truncate(3)", "a % b", "-a", "a in b", "a[:2]",
    "a and b or not a", "a is even", "a | default(b)", "a | upper", "a * b", "a | trim | wordcount",
])  # fmt: skip


@given(EXPRESSIONS, VALUES, VALUES)
@settings(max_examples=300)
def test_any_value_gives_a_text_or_one_kind_of_error(expression: str, a: Any, b: Any) -> None:
    for evaluate in (prompt_text("{{ " + expression + " }}").render, condition(expression).holds):
        try:
            result: object = evaluate({"a": a, "b": b})
        except ExpressionError as error:
            result = str(error)
        assert isinstance(result, str | bool)
