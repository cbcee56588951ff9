"""The reference of commands, settings and keys, written from the code: `python -m tests.reference`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import EnumMeta
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from models.core.answers.checks import FAILURE_MODES, REASONS
from models.core.correctness import RULE_MEANINGS
from models.core.experiment.options import METRICS
from models.core.experiment.quality_filters import FILTERS
from models.core.growth import DROPS
from models.core.prompts import expressions
from models.core.prompts.column_sandbox import OWN_FILTERS
from models.core.prompts.templates import BLOCKS, COLUMN_BLOCKS, PASSAGE
from models.core.prompts.templates import FILTERS as TEMPLATE_FILTERS
from producer import cli
from producer.cli.commands import app
from producer.serve.metrics import FAMILIES
from storage.settings import Settings
from tests.support.key_tables import default, keys, kinds, one_line, paragraphs, table, takes

REFERENCE = Path(__file__).parents[1] / "producer" / "REFERENCE.md"
# Modules whose docstring is of use to people who write experiments.
EXPLAINED = {
    "Prompts and conditions": "models.core.prompts.expressions",
    "Recordings": "models.core.recording",
    "Errors of model servers": "models.adapters.backends.error_map",
    "Calls that fail": "worker.model_health",
    "Parroting and redundancy": "models.core.answers.repetition",
    "Journals of answers": "storage.answer_journal",
    "Troubles of services": "storage.service_errors",
}
HEAD = """# Reference

Every command, setting and key, written from the code by `make reference`. The guides explain them:
[experiments](README.md), [tasks](../models/README.md), [documentation](../storage/README.md),
[models and workers](../worker/README.md), [many machines](../deploy/README.md).
"""


def reference() -> str:
    """Return the whole page."""
    parts = [commands(), exit_codes(), settings(), keys(), kinds(), templates(), explained(), reasons()]
    return "\n".join([HEAD, *chain.from_iterable(parts)])


@cache
def all_commands() -> dict[str, Any]:
    """Return every command by its words, such as `index build`."""
    return dict(_commands_below("", app))


def _commands_below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield words.strip(), command.load()
        return
    if hasattr(command, "default"):
        yield words.strip(), command.default.load()
    for name, inner in command.commands.items():
        yield from _commands_below(f"{words} {name}", inner)


def commands() -> Iterator[str]:
    yield "## Commands\n"
    for words, command in all_commands().items():
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        usage = " ".join(["starmill", words, *map(_argument, arguments), *["[OPTIONS]"] * bool(options)])
        yield f"### {words}\n\n`{usage}`\n\n{paragraphs(command.help)}\n"
        if command.params:
            rows = ([_names(each), _means(each)] for each in command.params)
            yield table(["argument or option", "meaning"], rows)


def _argument(argument: Any) -> str:
    bare = (argument.metavar or argument.name.upper()).replace("[", "").replace("]", "").removesuffix("...")
    name = bare + "..." * (argument.nargs == -1)
    return name if argument.required else f"[{name}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or _choices(parameter) or _kind(parameter)}"
    names = sorted(parameter.opts, key=len)
    return ", ".join(f"`{name}`" for name in names[:-1]) + ", " * (len(names) > 1) + f"`{names[-1]}{value}`"


def _choices(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    inner = list(kind) if isinstance(kind, EnumMeta) else get_args(kind)
    if len(inner) == 1 and isinstance(inner[0], EnumMeta):
        inner = list(inner[0])
    return "|".join(str(choice) for choice in inner if isinstance(choice, str))


def _kind(parameter: Any) -> str:
    return {int: "N", float: "X", Path: "PATH"}.get(parameter.type_descriptor.annotation, "TEXT")


def _means(parameter: Any) -> str:
    default, end = parameter.default, ""
    is_told = "default" in (parameter.help or "")
    if default not in (None, False, "", ()) and not callable(default) and not is_told:
        end = f" (default: `{default}`)"
    return f"{one_line(parameter.help)}{end}"


def exit_codes() -> Iterator[str]:
    codes = re.findall(r"(\d) ([^,.]+)", (cli.__doc__ or "").partition("\n\n")[2])
    yield "## Exit codes\n"
    yield table(["code", "meaning"], ([f"`{code}`", meaning] for code, meaning in codes))


def settings() -> Iterator[str]:
    yield "## Settings\n\nThey stand in the environment, or in `.env` in the working directory.\n"
    rows = (
        [f"`STARMILL_{name.upper()}`", one_line(field.description), takes(field), default(field)]
        for name, field in Settings.model_fields.items()
    )
    yield table(["setting", "meaning", "takes", "default"], rows)


def templates() -> Iterator[str]:
    yield "## Templates of a task folder\n"
    yield f"The filters are {_quoted(TEMPLATE_FILTERS)}. A passage has {_quoted(PASSAGE)}.\n"
    rows = (
        [f"`{name}`", f"`{block}`", _quoted(fields),
         "yes" if (name, block) in COLUMN_BLOCKS else "no"]
        for name, blocks in BLOCKS.items()
        for block, fields in blocks.items()
    )  # fmt: skip
    yield table(["template", "block", "fields", "columns of the data, too"], rows)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def explained() -> Iterator[str]:
    for heading, module in EXPLAINED.items():
        spec = find_spec(module)
        assert spec
        assert spec.origin
        text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")), clean=False) or ""
        yield f"## {heading}\n\n{text.strip()}\n"
        if module == expressions.__name__:
            yield f"The filters are {_quoted(sorted(set(OWN_FILTERS)))}.\n"


def reasons() -> Iterator[str]:
    yield "## Filters of quality\n"
    yield _listed("filter", FILTERS, "marks a row that")
    yield "## Rules of right and wrong\n"
    yield _listed("rule", RULE_MEANINGS, "an answer is right if")
    yield "## Metrics of a report\n"
    yield _listed("metric", METRICS)
    yield "## Answers that are not accepted\n"
    yield _listed("reason", {name: reason.description for name, reason in REASONS.items()})
    yield "## Failure modes of kept texts\n"
    yield _listed("mode", FAILURE_MODES, "the text")
    yield "## Grown pairs that are dropped\n"
    yield _listed("reason", DROPS, "the pair is")
    yield "## Metrics for Prometheus\n"
    rows = (
        [f"`{name}`", "counter" if name.endswith("_total") else "gauge", ", ".join(labels), meaning]
        for name, (labels, meaning) in FAMILIES.items()
    )
    yield table(["metric", "type", "labels", "meaning"], rows)


def _listed(what: str, texts: Mapping[str, str], means: str = "meaning") -> str:
    return table([what, means], ([f"`{name}`", text] for name, text in texts.items()))


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
