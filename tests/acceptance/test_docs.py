"""The README names every command, option and setting that there is, and none that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import EnumMeta
from pathlib import Path
from typing import Any

import pytest
import yaml

from producer.cli.app import app
from producer.experiments import load_experiment, presets
from storage.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*\b")


def commands() -> dict[str, Any]:
    """Every command by its words, such as `index build`."""
    return dict(_walk("", app))


def _walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield words.strip(), command.load()
        return
    for name, inner in command.commands.items():
        yield from _walk(f"{words} {name}", inner)


def table() -> dict[str, str]:
    """The README's table of commands: words, and the whole line."""
    return {words_of(line): line for line in re.findall(r"^\| `starmill (.+?)` \|", README, re.MULTILINE)}


def words_of(line: str) -> str:
    words = line.split()
    return " ".join(words[:2]) if words[0] in {"data", "index", "task"} else words[0]


def test_every_command_is_in_the_table_and_no_other() -> None:
    assert set(table()) == set(commands())


@pytest.mark.parametrize("name", commands())
def test_every_option_is_in_the_table_and_no_other(name: str) -> None:
    options = [parameter for parameter in commands()[name].params if parameter.param_type_name == "option"]
    documented = set(OPTION.findall(table()[name]))
    assert documented <= {word for option in options for word in option.opts}
    for option in options:
        assert documented.intersection(option.opts), f"{option.opts} of {name} is not in README.md"
        kind = option.type_descriptor.annotation
        choices: list[Any] = list(kind) if isinstance(kind, EnumMeta) else []
        for choice in choices:
            assert re.search(rf"\b{choice}\b", table()[name]), f"{choice} of {name} is not in README.md"


def test_every_command_line_is_one_that_there_is() -> None:
    lines = re.findall(r"(?:^\$ |`)starmill ((?:\\\n|[^`\n])+)", README, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        known = {word for parameter in commands()[words_of(line)].params for word in parameter.opts}
        assert set(OPTION.findall(line)) <= known, line


def test_every_setting_is_in_the_table_and_no_other() -> None:
    assert set(re.findall(r"\bSTARMILL_[A-Z_]+", README)) == {setting(name) for name in Settings.model_fields}
    rows = dict(re.findall(r"^\| `(STARMILL_\w+)` \|.*\| (.*?) \|$", README, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, str | int | float):
            assert rows[setting(name)] == f"`{field.default}`".replace(".0`", "`")


def test_every_preset_is_named() -> None:
    for name in presets():
        assert f"`{name}`" in README


def test_the_examples_of_experiments_are_valid(tmp_path: Path) -> None:
    """The first is a whole one, the others are sections of one."""
    example, *parts = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "example.yaml"
    path.write_text(example)
    experiment = load_experiment(str(path))
    assert experiment.name == "shell-snippets"
    assert experiment.dataset.path == str(tmp_path / "data")
    assert parts
    for part in parts:
        path.write_text(yaml.safe_dump(yaml.safe_load(example) | yaml.safe_load(part)))
        load_experiment(str(path))


def test_every_make_target_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README)) <= targets


def setting(name: str) -> str:
    return f"STARMILL_{name.upper()}"
