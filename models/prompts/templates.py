"""Prompt templates: parsed once, refused before anything is rendered, rendered block by block."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2 import Template as Compiled
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.errors import TaskFolderError
from models.prompts.language import FILTERS, NotAllowed, require_plain

# Characters.
LONGEST_SOURCE = 20_000
LONGEST_PROMPT = 4_000_000
# By template, the fields that each of its blocks is given.
BLOCKS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "augment": {"system": (), "many": (), "user": ("request",)},
    "rationale": {"system": (), "user": ("request", "passages", "hint", "hint_style")},
    "answer": {"user": ("request", "passages"), "worked": ("answer", "rationale")},
    "verdict": {"system": (), "user": ("request", "answer", "reference")},
    "grow": {"system": (), "shown": ("request", "answer"), "user": ("count",)},
}
_OPTIONAL = {"many"}


class Template:
    """One prompt template. Raises TaskFolderError with the line, and what to write instead."""

    def __init__(self, name: str, source: str, file: str = "") -> None:
        self.name = name
        self._file = file or f"{name}.j2"
        if len(source) > LONGEST_SOURCE:
            raise TaskFolderError(
                self._file, None, f"is longer than {LONGEST_SOURCE:,} characters; shorten it"
            )
        self._compiled, self._blocks, self._mentions = self._compile(source)

    def has(self, block: str) -> bool:
        return block in self._blocks

    def render(self, block: str, **given: Any) -> str:
        """The text of a block, less its last line break."""
        weight = sum(_size(value) for value in given.values())
        if self._mentions * weight > LONGEST_PROMPT:
            problem = (
                f"what block {block!r} is given makes a prompt of more than {LONGEST_PROMPT:,} characters"
            )
            raise TaskFolderError(self._file, None, f"{problem}; shorten the request, or show fewer passages")
        try:
            text = "".join(self._compiled.blocks[block](self._compiled.new_context(given)))
        except (JinjaError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise TaskFolderError(self._file, None, f"block {block!r} cannot be rendered: {error}") from None
        return text.removesuffix("\n")

    def _compile(self, source: str) -> tuple[Compiled, set[str], int]:
        environment = _environment()
        blocks = BLOCKS[self.name]
        try:
            tree = environment.parse(source)
            require_plain(tree, blocks, set(blocks) - _OPTIONAL)
            code = environment.compile(tree)
        except NotAllowed as error:
            raise TaskFolderError(self._file, error.line, str(error)) from None
        except JinjaError as error:
            line = getattr(error, "lineno", None)
            raise TaskFolderError(self._file, line, f"is no valid template: {error.message}") from None
        except (RecursionError, SyntaxError, MemoryError):
            raise TaskFolderError(self._file, None, "is nested too deeply; write it flat") from None
        found = {block.name for block in tree.find_all(nodes.Block)}
        mentions = 1 + sum(1 for _ in tree.find_all(nodes.Name))
        return environment.template_class.from_code(environment, code, {}), found, mentions


@lru_cache(maxsize=256)
def compiled(name: str, source: str) -> Template:
    """The template of this source; compiled once a process."""
    return Template(name, source)


def _size(value: Any) -> int:
    """Characters that rendering `value` once can make."""
    if isinstance(value, list):
        return sum(len(text) for item in value for text in item.values())
    return len(value) if isinstance(value, str) else 0


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    """The sandbox stands behind `require_plain`, in case that overlooks something."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    return environment
