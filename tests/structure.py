"""Figures on the structure of the product: `python -m tests.structure [CHECKOUT]...`, a column for each.

Tests and scaffolds are left out. `tests/unit/test_structure.py` holds the figures that must not get worse.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

PACKAGES = ("models", "storage", "worker", "producer", "deploy")
# They do not say what the value is: a hit, a row, an index, a message, a random generator.
VAGUE_NAMES = frozenset({"found", "said", "told", "place", "dice", "walk"})
# A docstring begins with a verb or names the thing.
VAGUE_OPENINGS = frozenset({
    "Of", "What", "As", "So", "How", "Whether", "Where", "Which", "Who", "Whose", "Why", "Such", "Those",
    "By", "Until", "Less", "Within", "When", "While",
})  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    path: Path
    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def lines(self) -> int:
        return len(self.source.splitlines())

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def docstrings(self) -> Iterator[str]:
        for node in self.nodes:
            if isinstance(node, ast.Module | ast.ClassDef | Function) and (text := ast.get_docstring(node)):
                yield text

    @property
    def bound_names(self) -> Iterator[str]:
        """Yield every name where it is defined: variables, parameters, attributes, functions, classes."""
        for node in self.nodes:
            match node:
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    yield name
                case ast.arg(arg=name) | ast.ClassDef(name=name):
                    yield name
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield name


def read_modules(checkout: Path) -> dict[str, Module]:
    """Return the modules of the product by their dotted names."""
    modules = {}
    for package in PACKAGES:
        for path in sorted((checkout / package).rglob("*.py")):
            relative = path.relative_to(checkout)
            if "scaffold" not in relative.parts:
                parts = relative.with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                modules[name] = Module(relative, name, path.read_text(encoding="utf-8"))
    return modules


def repeated(names: Iterator[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def file_names(modules: dict[str, Module]) -> Iterator[str]:
    return (each.path.name for each in modules.values() if each.path.name != "__init__.py")


def class_names(modules: dict[str, Module]) -> Iterator[str]:
    return (node.name for each in modules.values() for node in each.nodes if isinstance(node, ast.ClassDef))


def import_lines(module: Module) -> int:
    imports = (node for node in module.nodes if isinstance(node, ast.Import | ast.ImportFrom))
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in imports)


def vague_docstrings(module: Module) -> list[str]:
    return [text for text in module.docstrings if text.split()[0].strip(":,") in VAGUE_OPENINGS]


def vague_names(module: Module) -> list[str]:
    return [name for name in module.bound_names if name.lower().strip("_") in VAGUE_NAMES]


def function_lengths(modules: dict[str, Module]) -> list[int]:
    return sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for each in modules.values()
        for node in each.nodes
        if isinstance(node, Function)
    )


def imported(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Return for each module those of the product that it imports anywhere, also for types alone."""
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, module in modules.items():
        for node in module.nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    graph[name] |= {inner if inner in modules else node.module} & modules.keys() - {name}
    return graph


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that reach each other."""
    reach = {name: _reached(graph, name) for name in graph}
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph}
    return [set(group) for group in groups if len(group) > 1]


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def figures(checkout: Path) -> dict[str, float]:
    modules = read_modules(checkout)
    lengths = function_lengths(modules)
    lines = sum(each.lines for each in modules.values())
    return {
        "files": len(modules),
        "lines": lines,
        "import lines, %": round(100 * sum(map(import_lines, modules.values())) / lines, 1),
        "repeated file names": len(repeated(file_names(modules))),
        "repeated class names": len(repeated(class_names(modules))),
        "docstrings without a subject": sum(len(vague_docstrings(each)) for each in modules.values()),
        "vague names": sum(len(vague_names(each)) for each in modules.values()),
        "import cycles": len(cycles(imported(modules))),
        "longest file": max(each.lines for each in modules.values()),
        "median function": int(median(lengths)),
        "function, 90 %": lengths[len(lengths) * 9 // 10],
    }


def main() -> None:
    rows = {path: figures(Path(path)) for path in sys.argv[1:] or ["."]}
    width = max(map(len, next(iter(rows.values()))))
    print(" " * width, *(f"{path:>12}" for path in rows))
    for name in next(iter(rows.values())):
        print(f"{name:{width}}", *(f"{row[name]:>12}" for row in rows.values()))


if __name__ == "__main__":
    main()
