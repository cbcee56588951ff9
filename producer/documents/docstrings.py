"""What an object's documentation says: its words, its signature, its first paragraph."""

from __future__ import annotations

import inspect
import os
import re
from contextlib import suppress
from types import ModuleType
from typing import Any

NUMBERS = {bool, int, float, complex}
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def is_documented(value: Any) -> bool:
    """Callable with words of its own (not those of its type)."""
    return callable(value) and not isinstance(value, ModuleType) and bool(documentation(value))


def documentation(value: Any) -> str:
    with suppress(Exception):
        if inspect.isclass(value):
            text = value.__doc__ if "__doc__" in vars(value) else None
            return inspect.cleandoc(text).strip() if isinstance(text, str) else ""
        text = inspect.getdoc(value)
        if isinstance(text, str) and text != inspect.getdoc(type(value)):
            return text.strip()
    return ""


def described(name: str, value: Any, library: str) -> dict[str, str]:
    """The passage of one object; empty where its documentation is its signature alone."""
    short = name.rpartition(".")[2]
    head, text = split_documentation(documentation(value), short)
    signature = name
    if callable(value):
        signature = f"{name}({head or '...'})"
        with suppress(Exception):
            signature = f"{name}{plain(inspect.signature(value))}"
    row = {"id": name, "name": name, "signature": signature, "text": text, "library": library}
    return {key: ADDRESS.sub("", field) for key, field in row.items()} if text else {}


def plain(signature: inspect.Signature) -> inspect.Signature:
    """Defaults that are neither literals nor empty become `...`.

    Others differ from process to process, and may show what must stay here: the default of `cgi.parse`
    is the whole environment, and a path is this machine's.
    """
    kept = (
        parameter.replace(default=Omitted()) if hides(parameter.default) else parameter
        for parameter in signature.parameters.values()
    )
    return signature.replace(parameters=list(kept))


class Omitted:
    def __repr__(self) -> str:
        return "..."


def hides(value: Any) -> bool:
    """Whether a default says more than itself."""
    if type(value) in {tuple, list}:
        return any(hides(item) for item in value)
    if type(value) is str:
        return os.path.isabs(value)
    is_empty = type(value) is dict and not value
    return not (value is None or value is inspect.Parameter.empty or type(value) in NUMBERS or is_empty)


def split_documentation(text: str, short: str) -> tuple[str, str]:
    """Arguments of a leading `short(arguments)` line; the first paragraph that is more than such lines."""
    paragraphs = [paragraph.splitlines() for paragraph in re.split(r"\n\s*\n", text)]
    call = re.compile(rf"(?:\w+\.)*{re.escape(short)}\((.*?)\)(?=\s|:|$)")
    whole_call = re.compile(rf"(?:\w+\.)*{re.escape(short)}\(.*\)( -> \S+)?")
    first = call.match(folded(paragraphs[0]))
    head = first.group(1) if first else ""
    for lines in paragraphs:
        words = [line for line in lines if not call.match(line)]
        if words and not whole_call.fullmatch(folded(lines)):
            # An indented rest continues the line above: this paragraph is no mere list of signatures.
            return head, folded(lines if words[0][:1].isspace() else words)
    only = folded(paragraphs[0])
    return head, "" if first and first.end() == len(only) else only


def folded(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
