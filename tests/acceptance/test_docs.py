"""The reference has every command, option, key and setting, the guides nothing that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from models.core.experiment.experiment import Experiment
from models.core.experiment.schema_words import written_keys
from producer.cli.commands import app
from producer.experiments.load import load_experiment, presets
from storage.settings import Settings
from tests.reference import all_commands, reference
from tests.support.pages import (
    LINK,
    PAGES,
    README,
    REFERENCE,
    REPOSITORY,
    WRITTEN_BY_HAND,
    anchors,
    ignored,
    named_files,
    sentences,
)

EVERYTHING = "\n".join(PAGES.values())
# Words of a sentence.
LONGEST = 30
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*\b")


def test_the_reference_is_what_the_code_gives() -> None:
    assert PAGES[REFERENCE] == reference(), "run `make reference`"


def test_every_key_of_an_experiment_is_in_the_reference() -> None:
    for name, field in Experiment.model_fields.items():
        inner = () if name == "task" else sections(field.annotation)  # a file names a folder
        for key in (name, *(key for section in inner for key in written_keys(section))):
            assert f"\n| `{key}` | " in PAGES[REFERENCE], f"{name}: {key}"


@pytest.mark.parametrize("page", WRITTEN_BY_HAND)
def test_no_sentence_is_long(page: str) -> None:
    assert [sentence for sentence in sentences(PAGES[page]) if len(sentence.split()) > LONGEST] == []


def test_the_pages_are_short() -> None:
    sizes = {
        page: sum(bool(re.search(r"\w", word)) for word in PAGES[page].split()) for page in WRITTEN_BY_HAND
    }
    assert sizes["README.md"] <= 2_500
    # A record of measurements, which grows with them.
    del sizes["deploy/SCALING.md"]
    assert sum(sizes.values()) <= 10_500, sizes


def test_a_long_sentence_is_seen() -> None:
    inside = "One. " + "word " * 31 + "ends.\n- A point\n- Another\n\n| a | table |\n```\nno words\n```\n"
    assert [len(sentence.split()) for sentence in sentences(inside)] == [1, 32, 3, 2]


def words_of(line: str) -> str:
    words = line.split()
    inner = getattr(app.commands.get(words[0]), "commands", {})
    return " ".join(words[:2]) if words[1:2] and words[1] in inner else words[0]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_is_one_that_there_is(page: str) -> None:
    for line in command_lines(PAGES[page]):
        known = {word for parameter in all_commands()[words_of(line)].params for word in parameter.opts}
        assert set(OPTION.findall(line)) <= known, line


def test_pages_have_command_lines() -> None:
    pages = {page for page in PAGES if command_lines(PAGES[page])}
    assert pages >= {"README.md", "models/README.md", "storage/README.md", "producer/README.md"}


def command_lines(text: str) -> list[str]:
    return re.findall(r"(?:^\$ |`)starmill ((?:\\\n|[^`\n])+)", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_is_one_that_there_is(page: str) -> None:
    assert set(re.findall(r"\bSTARMILL_[A-Z_]+", PAGES[page])) <= {
        f"STARMILL_{name.upper()}" for name in Settings.model_fields
    }


def test_every_preset_is_named() -> None:
    for name in presets():
        assert f"`{name}`" in PAGES["producer/README.md"]


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
    assert len(parts) >= 4
    path = tmp_path / "example.yaml"
    for part in map(yaml.safe_load, parts):
        path.write_text(yaml.safe_dump(part if "name" in part else whole(part), sort_keys=False))
        load_experiment(str(path))


def whole(part: dict[str, Any]) -> dict[str, Any]:
    """Put the sections of an example into a whole experiment."""
    dataset = {"path": "data", "train": "train.jsonl", "test": "test.jsonl"}
    student = {"name": "small", "backend": "server", "model": "small", "base_url": "http://127.0.0.1:8001/v1"}
    experiment = {"name": "whole", "dataset": dataset, "teacher": "embedded", "students": [student]}
    experiment |= {"passages": {"source": "jsonl", "path": "data/manual.jsonl"}}
    if "data" in part:
        del experiment["dataset"]
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
