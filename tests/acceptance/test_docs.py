"""The pages name every command, option, key and setting that there is, and nothing that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import EnumMeta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from models.core.experiment.experiment import Experiment
from producer.cli.commands import app
from producer.experiments.load import load_experiment, presets
from storage.settings import Settings
from tests.support.pages import LINK, PAGES, README, REPOSITORY, anchors, ignored, named_files, prose

EVERYTHING = "\n".join(PAGES.values())
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*\b")


def commands() -> dict[str, Any]:
    """Every command by its words, such as `index build`."""
    return dict(_commands_below("", app))


def _commands_below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield words.strip(), command.load()
        return
    for name, inner in command.commands.items():
        yield from _commands_below(f"{words} {name}", inner)


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


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_is_one_that_there_is(page: str) -> None:
    for line in command_lines(PAGES[page]):
        known = {word for parameter in commands()[words_of(line)].params for word in parameter.opts}
        assert set(OPTION.findall(line)) <= known, line


def test_pages_have_command_lines() -> None:
    pages = {page for page in PAGES if command_lines(PAGES[page])}
    assert pages >= {"README.md", "models/README.md", "storage/README.md", "producer/README.md"}


def command_lines(text: str) -> list[str]:
    return re.findall(r"(?:^\$ |`)starmill ((?:\\\n|[^`\n])+)", text, re.MULTILINE)


def test_every_setting_is_in_the_table_and_no_other() -> None:
    settings = {setting(name) for name in Settings.model_fields}
    rows = dict(re.findall(r"^\| `(STARMILL_\w+)` \|.*\| (.*?) \|$", README, re.MULTILINE))
    assert set(rows) == settings
    for page, text in PAGES.items():
        assert set(re.findall(r"\bSTARMILL_[A-Z_]+", text)) <= settings, page
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, str | int | float):
            assert rows[setting(name)] == f"`{field.default}`".replace(".0`", "`")


def test_every_preset_is_named() -> None:
    for name in presets():
        assert f"`{name}`" in PAGES["producer/README.md"]


def test_every_key_of_an_experiment_is_named() -> None:
    """The sections in the table of sections; what they hold, there or on another page, or in an example."""
    quoted = re.findall(r"`([^`\n]+)`", prose(EVERYTHING)) + re.findall(
        r"```yaml\n(.*?)```", EVERYTHING, re.DOTALL
    )
    words = set(re.findall(r"\w+", " ".join(quoted)))
    for name, field in Experiment.model_fields.items():
        assert f"\n| `{name}` |" in PAGES["producer/README.md"], name
        if name != "task":  # a file names a folder; what is read there are no keys of the file
            missing = {key for inner in sections(field.annotation) for key in inner.model_fields} - words
            assert not missing, f"{name}: {missing}"


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of: itself, those of its fields, of a list or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from sections(field.annotation)
    for inner in get_args(annotation):
        yield from sections(inner)


def test_the_examples_of_experiments_are_valid(tmp_path: Path) -> None:
    """The first is a whole one, the others are sections of one; in deploy/ stand files of other programs."""
    pages = [text for page, text in PAGES.items() if not page.startswith("deploy/")]
    example, *parts = re.findall(r"```yaml\n(.*?)```", "\n".join(pages), re.DOTALL)
    path = tmp_path / "example.yaml"
    path.write_text(example)
    experiment = load_experiment(str(path))
    assert experiment.name == "shell-snippets"
    assert experiment.dataset.path == str(tmp_path / "data")
    assert len(parts) >= 3
    for part in parts:
        path.write_text(yaml.safe_dump(yaml.safe_load(example) | yaml.safe_load(part)))
        load_experiment(str(path))


def test_every_make_target_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", EVERYTHING)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading_that_there_are(page: str) -> None:
    for name, anchor in LINK.findall(PAGES[page]):
        path = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        assert path.exists(), f"{page} links to {name}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page} links to {name}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_module_that_is_named_exists(page: str) -> None:
    for name in named_files(PAGES[page]) - ignored():
        assert (REPOSITORY / name).exists(), f"{page} names {name}"
    for module in re.findall(r"python -m ((?:tests|worker|producer)\b[\w.]*)", PAGES[page]):
        assert find_spec(module), f"{page} runs {module}"


def test_the_readme_links_every_page() -> None:
    assert {name for name, _ in LINK.findall(README)} >= PAGES.keys() - {"README.md"}


def setting(name: str) -> str:
    return f"STARMILL_{name.upper()}"
