"""Small data for whole runs: chores in Python, documentation, and an experiment on both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.word_vectors import write_word_vectors

# (request, its code); {} is the name of a variable, so that any number of rows differ.
CHORES = (
    ("get the largest number in list `{}`", "max({})"),
    ("count the items of list `{}`", "len({})"),
    ("sort list `{}` in place", "{}.sort()"),
    ("get the first three items of list `{}`", "{}[:3]"),
    ("join the strings of list `{}` with commas", "','.join({})"),
    ("reverse string `{}`", "{}[::-1]"),
    ("make a set of the items of list `{}`", "set({})"),
    ("remove blanks around string `{}`", "{}.strip()"),
)
FUNCTIONS = (
    ("max", "(iterable, *, key=None)", "Return the largest item of an iterable."),
    ("min", "(iterable, *, key=None)", "Return the smallest item of an iterable."),
    ("len", "(s)", "Return the number of items of a container."),
    ("sum", "(iterable, start=0)", "Add the items of an iterable and return the total."),
    ("sorted", "(iterable, *, key=None)", "Return a new list of the items in ascending order."),
    ("reversed", "(seq)", "Return an iterator that yields the items from the last to the first."),
    ("set", "(iterable=())", "Make a set of the distinct items of an iterable."),
    ("list.sort", "(*, key=None)", "Sort the list in place, comparing items with the operator less than."),
    ("list.append", "(x)", "Add an item to the end of the list."),
    ("list.index", "(x)", "Return the place of the first item that is equal to x."),
    ("str.join", "(iterable)", "Return the strings of the iterable with this string between them."),
    ("str.strip", "(chars=None)", "Return the string without blanks at its start and its end."),
    ("str.split", "(sep=None)", "Return a list of the words in the string."),
    ("str.upper", "()", "Return the string in capital letters."),
    ("str.replace", "(old, new)", "Return the string with every occurrence of old replaced by new."),
    ("dict.get", "(key, default=None)", "Return the value of a key, or the default where it is absent."),
    ("dict.items", "()", "Return a view of the pairs of keys and values."),
    ("os.listdir", "(path='.')", "Return the names of the entries in a folder."),
    ("os.path.join", "(path, *paths)", "Join parts of a path with the separator of the system."),
    ("json.dumps", "(obj)", "Return a JSON text of an object."),
)

ENCODER = "encoder"


def chores(count: int, word: str) -> list[dict[str, str]]:
    """Rows of a dataset, all different; `word` begins their names of variables."""
    rows = []
    for number in range(count):
        request, code = CHORES[number % len(CHORES)]
        name = f"{word}{number}"
        rows.append({"request": request.format(name), "reference": code.format(name)})
    return rows


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write_data(folder: Path, train: int, test: int) -> Path:
    """train.jsonl, test.jsonl, passages.jsonl and an encoder; and references.jsonl, which the model server
    answers from."""
    folder.mkdir(exist_ok=True)
    splits = {"train": chores(train, "taught"), "test": chores(test, "asked")}
    for split, rows in splits.items():
        write_jsonl(folder / f"{split}.jsonl", rows)
    write_jsonl(folder / "references.jsonl", [row for rows in splits.values() for row in rows])
    passages = [{"id": f"lib.{name}", "name": name, "signature": shape, "text": text}
                for name, shape, text in FUNCTIONS]  # fmt: skip
    write_jsonl(folder / "passages.jsonl", passages)
    write_word_vectors(folder / ENCODER)
    return folder


def passages_of(data: Path, **settings: Any) -> dict[str, Any]:
    """The section of an experiment that finds the passages of `data`."""
    encoder = str(data.resolve() / ENCODER)
    return {"source": "jsonl", "path": "passages.jsonl", "encoder": encoder, "top_k": 2} | settings


def write_experiment(data: Path, url: str, key: str = "", **sections: Any) -> Path:
    """Half of the first rationales are right, all that are hinted; six cells; four calls at once a model.
    `key` is the variable of the key of both models."""
    endpoint = {"base_url": url, "max_concurrency": 4} | ({"api_key_env": key} if key else {})
    config: dict[str, Any] = {
        "name": "small",
        "dataset": {"path": ".", "train": "train.jsonl", "test": "test.jsonl"},
        "passages": passages_of(data),
        "teacher": {"backend": "openai", "model": "large", **endpoint},
        "students": [{"name": "small", "backend": "server", "model": "small", **endpoint}],
        "rationale": {"hint": "paper"},
        "grid": {"shots": [0, 2], "retrieval": [False, True], "rationale": ["none", "star"]},
    }
    path = data / f"{sections.get('name', config['name'])}.yaml"
    path.write_text(yaml.safe_dump(config | sections))
    return path
