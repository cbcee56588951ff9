"""Read YAML of experiments and task folders: no key twice, all within bounds, each slip in one line with its
number."""

from __future__ import annotations

from pathlib import Path
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


# More than any experiment needs. Values are counted as often as aliases repeat them.
MAX_BYTES = 2**20
MAX_DEPTH = 40
MAX_VALUES = 20_000


class ExperimentLoader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that stands twice in one mapping or is no word, and a text that
    is too deep or, with what its aliases repeat, too much."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark, is_alias = event.start_mark, isinstance(event, yaml.AliasEvent)
        if self._depth >= MAX_DEPTH:
            raise _out_of_bounds(f"nested more than {MAX_DEPTH} levels deep; flatten it", mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if not is_alias:
            self._values[node] = 1 + sum(self._values[child] for child in _children(node))
        elif node not in self._values:
            raise _out_of_bounds("an alias stands within what it repeats; remove it", mark)
        if self._values[node] > MAX_VALUES:
            raise _out_of_bounds(f"more than {MAX_VALUES:,} values; put rows into a file of their own", mark)
        return node

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


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _out_of_bounds(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raise OSError, UnicodeDecodeError or one of NOT_YAML."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise yaml.YAMLError(f"more than {MAX_BYTES:,} bytes; put rows into a file of their own")
    return parse_yaml(content.decode())


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text. Raise one of NOT_YAML."""
    return yaml.load(text, ExperimentLoader)  # noqa: S506 (a safe loader)


def yaml_problem(error: Exception) -> tuple[int | None, str]:
    """Return the line, if it is known, and the problem of a text that is not YAML."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    hint = HINTS.get(problem)
    return mark.line + 1 if mark else None, f"{problem}; {hint}" if hint else problem
