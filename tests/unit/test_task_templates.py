"""Templates of task folders: what they may say, and what they are refused for before they are rendered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.errors import TaskFolderError
from models.core.prompts.templates import LONGEST_PROMPT, LONGEST_SOURCE, Template

PASSAGE = {"line": "len(s): Count.", "name": "len", "signature": "(s)", "text": "Count."}
GIVEN = {"request": "count `xs`", "passages": [PASSAGE, PASSAGE], "hint": None, "hint_style": "paper"}


def rationale(user: str, system: str = "Answer.") -> Template:
    return Template(
        "rationale", f"{{% block system %}}{system}{{% endblock %}}\n{{% block user %}}{user}{{% endblock %}}"
    )


def refusal(user: str) -> str:
    with pytest.raises(TaskFolderError) as error:
        rationale(user)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ request }}", "count `xs`"),
        ("\nQuery: {{ request }}\n", "Query: count `xs`"),
        ("{{ request | upper }} {{ passages | length }}", "COUNT `XS` 2"),
        ("{% if hint is none %}no{% else %}{{ hint }}{% endif %}", "no"),
        ("{{ 'a' if hint else 'b' ~ request }}", "bcount `xs`"),
        ("{% for p in passages %}{{ loop.index }}{{ p['text'] }};{% endfor %}", "1Count.;2Count.;"),
        ("{% for p in passages[:1] %}{{ p.line }}{% endfor %}", "len(s): Count."),
        ("{% filter upper %}{{ request|trim('`') }}{% endfilter %}", "COUNT `XS"),
        ("{% for p in passages if p.name == 'x' %}{{ p.line }}{% else %}none{% endfor %}", "none"),
        ("{# a remark #}{{ '{{' }} <b>&amp;", "{{ <b>&amp;"),
    ],
)  # fmt: skip
def test_allowed_template_is_rendered_unchanged(source: str, text: str) -> None:
    assert rationale(source).render("user", **GIVEN) == text


COLUMNS = {"level": 3, "topic": "sums", "choices": ["a", "b"], "source": None}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ level }}: {{ request }}", "3: count `xs`"),
        ("{% if level > 2 %}hard{% endif %} {{ topic | upper }}", "hard SUMS"),
        ("{{ choices }}{{ source }}{{ missing }}", '["a", "b"]'),
    ],
)
def test_columns_of_the_row_are_fields(source: str, text: str) -> None:
    block = f"{{% block system %}}Answer.{{% endblock %}}{{% block user %}}{source}{{% endblock %}}"
    template = Template("rationale", block, columns=[*COLUMNS, "missing"])
    assert template.render("user", COLUMNS, **GIVEN) == text
    assert Template("rationale", block, columns=None).render("user", COLUMNS, **GIVEN) == text


def test_field_wins_over_a_column_of_its_name() -> None:
    template = rationale("{{ request }}")
    assert template.render("user", {"request": "other"}, **GIVEN) == "count `xs`"


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("answer", "{% block user %}{{ levle }}{% endblock %}", "no field 'levle' here; did you mean level? "
         "known are request, passages, level"),
        ("answer", "{% block user %}{{ self }}{% endblock %}", "no field 'self' here"),
        ("verdict", "{% block system %}{{ level }}{% endblock %}", "no field 'level' here; known are none"),
        ("grow", "{% block shown %}{{ level }}{% endblock %}", "no field 'level' here; known are request,"),
    ],
)  # fmt: skip
def test_column_that_is_not_there_is_named(name: str, source: str, says: str) -> None:
    with pytest.raises(TaskFolderError) as error:
        Template(name, source, columns=["level"])
    assert says in str(error.value)


HOSTILE = {
    "{{ ''.__class__ }}": "no attribute '__class__'",
    "{{ ''['__class__'] }}": "no attribute '__class__'",
    "{{ request.__class__.__mro__[1].__subclasses__() }}": "nothing can be called",
    "{{ request.format(1) }}": "nothing can be called",
    "{{ request.title }}": "no attribute 'title'",
    "{{ ''|attr('__class__') }}": "no filter 'attr'",
    "{{ passages|map(attribute='__class__')|list }}": "no filter",
    "{{ [].append }}": "no attribute 'append'",
    "{{ {}.items }}": "no attribute 'items'",
    "{{ self }}": "no field 'self'",
    "{{ self._TemplateReference__context }}": "no field 'self'",
    "{{ cycler }}": "no field 'cycler'",
    "{{ lipsum.__globals__ }}": "no field 'lipsum'",
    "{{ config }}": "no field 'config' here; known are request, passages, hint, hint_style",
    "{% include '/etc/passwd' %}": "other files cannot be included, imported or extended",
    "{% import 'os' as os %}": "other files cannot be included, imported or extended",
    "{% from 'x' import y %}": "other files cannot be included, imported or extended",
    "{% extends 'x' %}": "other files cannot be included, imported or extended",
    "{% for i in range(10**9) %}x{% endfor %}": "loops go over passages only",
    "{% for c in request %}x{% endfor %}": "loops go over passages only",
    "{% for a in passages recursive %}{{ loop(passages) }}{% endfor %}": "nothing can be called",
    "{% for a in passages %}{% for b in passages %}x{% endfor %}{% endfor %}": "within a loop",
    "{% macro m() %}{{ m() }}{% endmacro %}": "macros are not known",
    "{% set x = request %}": "variables cannot be set",
    "{% set x %}y{% endset %}": "variables cannot be set",
    "{% with x = 1 %}{% endwith %}": "variables cannot be set",
    "{{ 'a' * 10**9 }}": "there is no *, ** or %",
    "{{ 2 ** 10 ** 10 }}": "there is no *, ** or %",
    "{{ '%1000000000d' % 1 }}": "there is no *, ** or %",
    "{{ 'a'|center(1000000000) }}": "no filter 'center'",
    "{{ request is nonsense }}": "rationale.j2:2: is no valid template: No test named 'nonsense'",
    "{{ passages[request] }}": "rationale.j2:2: block 'user' cannot be rendered",
    "{{ ''['__cl' ~ 'ass__'] }}": "no attribute '__class__'",
    "{{ request.text }}": "rationale.j2:2: block 'user' cannot be rendered: 'str object' has no attribute",
    "{% if hint %}{{ request + 1 }}{% endif %}": "rationale.j2:2: block 'user' cannot be rendered",
    "{{ " + "9" * 5_000 + " }}": "is no valid template",
    "{% block inner %}x{% endblock %}": "there is no block 'inner' here; known are system, user",
    "{{ request ": "is no valid template",
    "{% if %}": "is no valid template",
    "{% do x %}": "is no valid template",
    "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}": "nested too deeply",
    "{% if hint %}" * 200 + "{% endif %}" * 200: "nested too deeply",
    "x" * LONGEST_SOURCE: "is longer than 20,000 characters",
}


@pytest.mark.parametrize("source", HOSTILE)
def test_dangerous_template_is_refused_in_one_line(source: str) -> None:
    assert HOSTILE[source] in refusal(source)


def test_the_line_is_named() -> None:
    source = "{% block system %}\nA\n{% endblock %}\n{% block user %}{{ reqest }}{% endblock %}"
    with pytest.raises(
        TaskFolderError, match=r"^my/rationale\.j2:4: there is no field 'reqest' here; did you mean request\?"
    ):
        Template("rationale", source, "my/rationale.j2")
    assert refusal("one\n\n{{ passages.line }}").startswith("rationale.j2:4: ")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ request }}", "rationale.j2:1: text outside of a block; put it into system, user"),
        ("\n\nQuery: hello", "rationale.j2:3: text outside of a block; put it into system, user"),
        ("{% block system %}{% endblock %}", "rationale.j2:1: block 'user' is missing"),
        ("{% block usr %}{% endblock %}", "there is no block 'usr' here; did you mean user? known are"),
        ("{% block user %}a{% endblock %}{% block user %}b{% endblock %}", "block 'user' defined twice"),
        ("{% block system %}{{ hint }}{% endblock %}{% block user %}{% endblock %}", "no field 'hint' here"),
    ],
)  # fmt: skip
def test_blocks_are_those_of_the_stage(source: str, says: str) -> None:
    with pytest.raises(TaskFolderError) as error:
        Template("rationale", source)
    assert says in str(error.value)


def test_prompt_beyond_four_million_characters_is_refused() -> None:
    long = GIVEN | {"request": "x" * (LONGEST_PROMPT // 2)}
    with pytest.raises(TaskFolderError, match=r"makes a prompt of more than 4,000,000 characters"):
        rationale("{{ request ~ request ~ request }}").render("user", **long)
    many = GIVEN | {"request": "x" * 5_000, "passages": [PASSAGE] * 1_000}
    with pytest.raises(TaskFolderError, match=r"makes a prompt of more than 4,000,000 characters"):
        rationale("{% for p in passages %}{{ request }}{% endfor %}").render("user", **many)


def test_template_values_cannot_reach_python_attributes() -> None:
    template = rationale("{% if request != 'x' %}\n{{ ''[request] }}{% endif %}")
    with pytest.raises(
        TaskFolderError, match=r"^rationale\.j2:3: block 'user' cannot be rendered: access to"
    ):
        template.render("user", **GIVEN | {"request": "__class__"})


@given(source=st.text(alphabet="{}%#()[]|~.'\"*_ abcdefgrequestpassageslinfor\n-+0123456789", max_size=60))
def test_arbitrary_text_renders_or_is_refused_in_one_line(source: str) -> None:
    message = ""
    try:
        rationale(source).render("user", **GIVEN)
    except TaskFolderError as error:
        message = str(error)
    assert "\n" not in message
