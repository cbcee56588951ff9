"""Print the documentation of importable packages as JSONL, one documented callable a line.

Importing a package runs its code, which may print, warn, exit or crash, so `producer.corpus.installed` runs
this module in a child process. A first and only line with the key `missing` names a package that cannot be
imported.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

NUMBERS = {bool, int, float, complex}
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def is_documented(value: Any) -> bool:
    """Return whether a callable has documentation of its own, not that of its type."""
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


def describe(name: str, value: Any, library: str) -> dict[str, str]:
    """Return the passage of one object; {} if its documentation is only its signature."""
    short = name.rpartition(".")[2]
    head, text = split_documentation(documentation(value), short)
    signature = name
    if callable(value):
        signature = f"{name}({head or '...'})"
        with suppress(Exception):
            signature = f"{name}{hide_defaults(inspect.signature(value))}"
    row = {"id": name, "name": name, "signature": signature, "text": text, "library": library}
    return {key: ADDRESS.sub("", field) for key, field in row.items()} if text else {}


def hide_defaults(signature: inspect.Signature) -> inspect.Signature:
    """Replace defaults that are neither literals nor empty by `...`.

    Others differ from process to process, and may reveal secrets: the default of `cgi.parse` is the whole
    environment, and a path is this machine's.
    """
    kept = (
        parameter.replace(default=HiddenDefault()) if must_hide(parameter.default) else parameter
        for parameter in signature.parameters.values()
    )
    return signature.replace(parameters=list(kept))


class HiddenDefault:
    def __repr__(self) -> str:
        return "..."


def must_hide(value: Any) -> bool:
    """Return whether a default may reveal more than a literal."""
    if type(value) in {tuple, list}:
        return any(must_hide(item) for item in value)
    if type(value) is str:
        return os.path.isabs(value)
    is_empty = type(value) is dict and not value
    return not (value is None or value is inspect.Parameter.empty or type(value) in NUMBERS or is_empty)


def split_documentation(text: str, short: str) -> tuple[str, str]:
    """Return the arguments of a leading `short(arguments)` line, and the first paragraph after such lines."""
    paragraphs = [paragraph.splitlines() for paragraph in re.split(r"\n\s*\n", text)]
    call = re.compile(rf"(?:\w+\.)*{re.escape(short)}\((.*?)\)(?=\s|:|$)")
    whole_call = re.compile(rf"(?:\w+\.)*{re.escape(short)}\(.*\)( -> \S+)?")
    first = call.match(join_lines(paragraphs[0]))
    head = first.group(1) if first else ""
    for lines in paragraphs:
        words = [line for line in lines if not call.match(line)]
        if words and not whole_call.fullmatch(join_lines(lines)):
            # Indented lines continue the line above: this paragraph is more than a list of signatures.
            return head, join_lines(lines if words[0][:1].isspace() else words)
    only = join_lines(paragraphs[0])
    return head, "" if first and first.end() == len(only) else only


def join_lines(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


STDLIB = "stdlib"
# Importing these prints, opens a browser, or brings programs and copies for other platforms, not a library.
SKIPPED_TOP = {"antigravity", "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "ntpath",
               "nturl2path", "pydoc_data", "test", "this", "turtledemo", "venv"}  # fmt: skip
SKIPPED_PART = {"conftest", "setup", "test", "tests"}


class PublicName(NamedTuple):
    """A public name of a documented object. Users import the one with the smallest `rank`."""

    name: str
    listed: bool
    value: Any

    @property
    def own(self) -> bool:
        return bool(getattr(self.value, "__name__", "") == self.name.rpartition(".")[2])

    @property
    def rank(self) -> tuple[bool, bool, int, str]:
        return (not self.listed, not self.own, len(self.name), self.name)


def imported(name: str) -> ModuleType | None:
    with suppress(Exception, SystemExit):
        return importlib.import_module(name)
    return None


def stdlib_roots() -> list[str]:
    """Return `builtins` and every public top-level module that this interpreter can import."""
    return sorted(name for name in sys.stdlib_module_names - SKIPPED_TOP if not name.startswith("_"))


def submodules(module: ModuleType, name: str) -> Iterator[tuple[str, ModuleType]]:
    """Yield `module` and its public submodules, depth first, each with its import name."""
    yield name, module
    parts = {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", None) or [])}
    # os.path has no file of its own.
    parts |= {part for part in vars(module) if f"{name}.{part}" in sys.modules}
    for part in sorted(parts):
        if part.startswith("_") or part in SKIPPED_PART:
            continue
        child = imported(f"{name}.{part}")
        if child is not None:
            yield from submodules(child, f"{name}.{part}")


def public_names(module: ModuleType, name: str) -> Iterator[PublicName]:
    """Yield the names in `__all__`; without it, the public names of objects of the same package."""
    prefix = "" if name == "builtins" else f"{name}."
    declared = getattr(module, "__all__", None)
    listed = {entry for entry in declared or () if isinstance(entry, str)}
    for entry in sorted(listed or vars(module)):
        if entry.startswith("_"):
            continue
        with suppress(Exception):
            value = getattr(module, entry)
            listed_here = entry in listed or not prefix
            if listed_here or package_of(value) == name.partition(".")[0]:
                yield PublicName(prefix + entry, listed_here, value)


def package_of(value: Any) -> str:
    """Return the top-level package that defines `value`; `_bisect` and other accelerators lose their `_`."""
    made_in = getattr(value, "__module__", None)
    return made_in.partition(".")[0].removeprefix("_") if isinstance(made_in, str) else ""


def members(name: str, value: type, public: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield public methods and properties of a class, also those of bases without a public name."""
    seen: set[str] = set()
    for base in value.__mro__:
        if base is not value and (id(base) in public or base.__module__ == "builtins"):
            continue
        for entry in sorted(vars(base)):
            if entry.startswith("_") or entry in seen:
                continue
            seen.add(entry)
            member = vars(base)[entry]
            member = getattr(member, "__func__", member)
            if inspect.isroutine(member) or isinstance(member, property):
                yield f"{name}.{entry}", member


def inspect_packages(packages: list[str]) -> list[dict[str, str]]:
    """Return the passages of `packages`, sorted by id; each object once, under its best public name."""
    best: dict[int, tuple[PublicName, str]] = {}
    for root, library, required in root_modules(packages):
        module = imported(root)
        if module is None and required:
            return [{"missing": root}]
        for name, part in submodules(module, root) if module else ():
            keep_best(best, part, name, library)
    classes = {key for key, (named, _) in best.items() if inspect.isclass(named.value) and named.own}
    rows: dict[str, dict[str, str]] = {}
    for named, library in sorted(best.values(), key=lambda entry: entry[0].rank):
        pairs = [(named.name, named.value)]
        if id(named.value) in classes:
            pairs += members(named.name, named.value, classes)
        for name, value in pairs:
            if name not in rows and (row := describe(name, value, library)):
                rows[name] = row
    return [rows[name] for name in sorted(rows)]


def keep_best(best: dict[int, tuple[PublicName, str]], module: ModuleType, name: str, library: str) -> None:
    """Keep the best name of every object. Objects that raise an exception for an attribute are skipped."""
    with suppress(Exception):
        for named in public_names(module, name):
            with suppress(Exception):
                known = best.get(id(named.value))
                if is_documented(named.value) and (known is None or named.rank < known[0].rank):
                    best[id(named.value)] = (named, library)


def root_modules(packages: list[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield the modules to inspect: name, library of their passages, whether they must be importable."""
    for package in packages:
        if package == STDLIB:
            yield from ((name, "python", False) for name in stdlib_roots())
        else:
            top = package.partition(".")[0]
            yield package, "python" if top in sys.stdlib_module_names else top, True


def main() -> None:
    """Print the rows. Standard output is redirected first: imported code may print."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as rows:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        warnings.simplefilter("ignore")
        for row in inspect_packages(sys.argv[1:]):
            rows.write(json.dumps(row) + "\n")
        rows.flush()
        # Imported packages may leave threads and exit hooks; do not wait for them.
        os._exit(0)


if __name__ == "__main__":
    main()
