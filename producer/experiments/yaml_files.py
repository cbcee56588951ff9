"""Read YAML of experiments and task folders: no key twice, and each slip in one line with its number."""

from __future__ import annotations

from typing import Any

import yaml

# YAML's reader of dates and numbers raises ValueError.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
HINTS = {
    r"found character '\t' that cannot start any token": "found a tab; indent with blanks",
    "mapping values are not allowed here": "put a text that contains ': ' in quotes",
    "found unhashable key": "put a text that begins with { or [ in quotes",
    "found character '@' that cannot start any token": "put a text that begins with @ in quotes",
    "found character '`' that cannot start any token": "put a text that begins with ` in quotes",
    "found character '%' that cannot start any token": "put a text that begins with % in quotes",
    "expected ',' or '}', but got '{'": "put a text that contains {{ }} in quotes",
}


# Keys that YAML reads as something else than a word, such as `on`.
NO_WORDS = {"bool": "true or false", "null": "nothing", "timestamp": "a date"}


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that stands twice in one mapping or is no word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if read_as := NO_WORDS.get(key.tag.rpartition(":")[2]):
                problem = f"YAML reads the key {key.value} as {read_as}; put it in quotes"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            line = key.start_mark.line + 1
            if first := lines.get(key.value):
                where = f"also on line {first}" if first != line else "twice on this line"
                problem = f"the key {key.value} stands {where}; keep one of them"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[key.value] = line
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text. Raise one of NOT_YAML."""
    return yaml.load(text, UniqueKeyLoader)  # noqa: S506 (a safe loader)


def yaml_problem(error: Exception) -> tuple[int | None, str]:
    """Return the line, if it is known, and the problem of a text that is not YAML."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    hint = HINTS.get(problem)
    return mark.line + 1 if mark else None, f"{problem}; {hint}" if hint else problem
