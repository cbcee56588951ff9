"""All commands by name. A command's module is imported only when it is called, so that `starmill status` does
not wait for torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from models.adapters.start_up import importing


class LazyCommand(TyperCommand):
    """A command that imports its function when it is called. `target` is `module:function`, such as
    `producer.cli.runs:status`. The help is the function's docstring, read without importing the module."""

    def __init__(self, name: str, target: str) -> None:
        super().__init__(name, callback=None, rich_markup_mode=None)
        self.module, self.function = target.split(":")

    def load(self) -> Any:
        """Import the function and return its command."""
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        with importing():
            module = import_module(self.module)
        app.command(self.name)(getattr(module, self.function))
        return typer.main.get_command(app)

    def make_context(self, *args: Any, **options: Any) -> Any:
        # A group calls this first; from here on the imported command answers.
        return self.load().make_context(*args, **options)

    def get_short_help_str(self, limit: int = 45) -> str:
        self.help = self.help or _docstring(self.module, self.function)
        return super().get_short_help_str(limit)


class GroupWithDefault(TyperGroup):
    """A group whose own name is a command, too: `starmill runs` lists, `starmill runs delete` deletes."""

    default: LazyCommand

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **options: Any) -> Any:
        if args and (args[0] in self.commands or "--help" in args):
            return super().make_context(info_name, args, parent, **options)
        return self.default.make_context(info_name, args, parent, **options)


def group(name: str, help_: str, targets: Mapping[str, str | TyperGroup]) -> TyperGroup:
    """Make a group of commands. Each name maps to `module:function`, or to a group."""
    commands: dict[str, Any] = {
        word: LazyCommand(word, target) if isinstance(target, str) else target
        for word, target in targets.items()
    }
    return TyperGroup(name=name, help=help_, commands=commands, rich_markup_mode=None)


def _docstring(module: str, function: str) -> str | None:
    loader: Any = getattr(find_spec(module), "loader", None)
    for node in ast.parse(loader.get_source(module)).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return ast.get_docstring(node)
    return None


index = group("index", "Build and search the passages of an experiment.", {
    "evaluate": "producer.cli.index:evaluate_index",
    "train": "producer.cli.index_models:train",
    "quantize": "producer.cli.index_models:quantize",
    "build": "producer.cli.index:build",
    "search": "producer.cli.index:search",
})  # fmt: skip
data = group("data", "Fetch documentation, and list what is there; make models of published differences.", {
    "fetch": "producer.cli.data:fetch",
    "list": "producer.cli.data:list_",
    "apply-delta": "producer.cli.data:apply_delta",
    "quality": "producer.cli.quality:data_quality",
    "grow": "producer.cli.run:grow",
})  # fmt: skip
ledger = group("ledger", "Move, back up, restore and shrink the ledger.", {
    "move": "producer.cli.ledger:move",
    "backup": "producer.cli.ledger:backup",
    "restore": "producer.cli.ledger:restore",
    "vacuum": "producer.cli.ledger:vacuum",
})  # fmt: skip
task = group("task", "Task folders: what models are asked to do, in one folder.", {
    "new": "producer.cli.experiments:new",
    "check": "producer.cli.experiments:check",
})  # fmt: skip
runs = GroupWithDefault(
    name="runs",
    help="List all runs, newest first (with --json as one JSON object); delete runs.",
    commands={
        "delete": LazyCommand("delete", "producer.cli.delete_runs:delete"),
        "prune": LazyCommand("prune", "producer.cli.delete_runs:prune"),
    },
    rich_markup_mode=None,
)
runs.default = LazyCommand("runs", "producer.cli.runs:runs")
app = group(
    "starmill",
    "Asks language models about the rows of a dataset, by one prompt or a pipeline of steps, and pays once.",
    {
        "generate": "producer.cli.generate:generate",
        "demo": "producer.cli.demo:demo",
        "preview": "producer.cli.preview:preview",
        "estimate": "producer.cli.estimate:estimate",
        "run": "producer.cli.run:run",
        "feed": "producer.cli.serve:feed",
        "pause": "producer.cli.runs:pause",
        "resume": "producer.cli.run:resume",
        "status": "producer.cli.runs:status",
        "report": "producer.cli.results:report",
        "export": "producer.cli.export:export",
        "show": "producer.cli.results:show",
        "diff": "producer.cli.results:diff",
        "quality": "producer.cli.quality:quality",
        "score": "producer.cli.score:score",
        "audit": "producer.cli.score:audit",
        "failures": "producer.cli.runs:failures",
        "retry": "producer.cli.runs:retry",
        "runs": runs,
        "doctor": "producer.cli.doctor:doctor",
        "experiments": "producer.cli.experiments:experiments",
        "serve": "producer.cli.serve:serve",
        "worker": "producer.cli.worker:worker",
        "index": index,
        "data": data,
        "task": task,
        "ledger": ledger,
    },
)
