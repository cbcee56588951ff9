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
from models.core.experiment.schema_words import written_keys
from models.core.kinds import KINDS
from models.core.kinds.step import StepSettings
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
    if hasattr(command, "default"):
        yield words.strip(), command.default.load()
    for name, inner in command.commands.items():
        yield from _commands_below(f"{words} {name}", inner)


def table() -> dict[str, str]:
    """The README's table of commands: words, and the whole line."""
    return {words_of(line): line for line in re.findall(r"^\| `starmill (.+?)` \|", README, re.MULTILINE)}


def words_of(line: str) -> str:
    words = line.split()
    inner = getattr(app.commands.get(words[0]), "commands", {})
    return " ".join(words[:2]) if words[1:2] and words[1] in inner else words[0]


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
            missing = {key for inner in sections(field.annotation) for key in written_keys(inner)} - words
            assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_step_is_in_the_row_of_its_kind(kind: str) -> None:
    page = PAGES["producer/README.md"]
    [row] = re.findall(rf"^\| `{kind}` \| .*$", page.partition("\n### Steps\n")[2], re.MULTILINE)
    quoted = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", row))))
    common = written_keys(StepSettings)
    assert not set(written_keys(KINDS[kind])) - quoted - set(common)
    assert set(common) <= set(re.findall(r"`(\w+)`", page))


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of: itself, those of its fields, of a list or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from sections(field.annotation)
    for inner in get_args(annotation):
        yield from sections(inner)


def test_the_examples_of_experiments_are_valid(tmp_path: Path) -> None:
    """An example with a name is a whole experiment; the others are sections of the paper's. In deploy/ stand
    files of other programs."""
    pages = [text for page, text in PAGES.items() if not page.startswith("deploy/")]
    parts = re.findall(r"```yaml\n(.*?)```", "\n".join(pages), re.DOTALL)
    [example] = [part for part in parts if part.startswith("name: shell-snippets\n")]
    path = tmp_path / "example.yaml"
    path.write_text(example)
    experiment = load_experiment(str(path))
    assert experiment.rows_path == str(tmp_path / "data")
    assert len(parts) >= 4
    for part in map(yaml.safe_load, parts):
        path.write_text(yaml.safe_dump(part if "name" in part else whole(example, part), sort_keys=False))
        load_experiment(str(path))


def whole(example: str, part: dict[str, Any]) -> dict[str, Any]:
    """Put the sections of an example into a whole experiment."""
    experiment: dict[str, Any] = yaml.safe_load(example)
    if "data" in part:
        experiment.pop("dataset", None)
    return experiment | part


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
