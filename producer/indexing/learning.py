"""Lets an index learn from the train split: solved examples, and a ranking of candidates."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.encoders import open_encoder
from models.errors import ServiceError, UsageError
from models.experiment import Experiment
from models.retrieval.learning import Lessons, learn
from models.retrieval.searches import Searches
from models.retrieval.settings import Passages
from models.retrieval.solved import Solved, answer_matrix, unit
from models.retrieval.words import group_of, without_literals
from models.types import Example
from producer.datasets.reading import read_dataset
from producer.indexing.build import Progress
from storage.passages.experience import Experience, experience_path, load, save
from storage.passages.lexicons import open_lexicon
from storage.passages.naming import index_path
from storage.passages.retriever import LEARNED
from storage.passages.snapshot import Snapshot
from storage.schema import TRAIN

# What is learned in another way is another thing.
VERSION = "1"


def needs_learning(passages: Passages) -> bool:
    """Whether a search of the experiment uses solved examples."""
    return any(choice.method in LEARNED for choice in Searches.read(passages).choices.values())


def learn_index(experiment: Experiment, home: Path, progress: Progress | None = None) -> int:
    """Learn from the train examples that name their passages; the index must be built. Returns how many.

    Where nothing has changed, nothing is done. `progress` hears (examples seen, examples to see). Raises
    UsageError where no example names a passage of the index.
    """
    passages, path = experiment.passages, experience_path(experiment.passages, experiment.dataset, home)
    snapshot = Snapshot.open(index_path(passages, home))
    examples = _solved_examples(experiment, snapshot)
    digest = _digest(examples, snapshot)
    if _is_current(path, snapshot.fingerprint, digest):
        return len(examples)
    encoder = open_encoder(passages.encoder)
    requests = [example.request for example in examples]
    whole = unit(encoder.encode(requests))
    bare = unit(encoder.encode([without_literals(request) for request in requests]))
    groups = [group_of(example.question_id) for example in examples]
    answers = [[row for name in example.oracle for row in snapshot.rows_of(name)] for example in examples]
    solved = Solved(whole, bare, np.array(groups), answer_matrix(answers, len(snapshot)))
    lessons = Lessons(requests, [example.question_id for example in examples], answers, whole, bare)
    ranking = learn(
        lessons, snapshot.vectors, open_lexicon(snapshot), solved, experiment.seed, os.cpu_count() or 1,
        progress or (lambda _done, _total: None),
    )  # fmt: skip
    named = [list(example.oracle) for example in examples]
    save(path, Experience(snapshot.fingerprint, digest, groups, named, whole, bare, ranking))
    return len(examples)


def _solved_examples(experiment: Experiment, snapshot: Snapshot) -> list[Example]:
    train = read_dataset(experiment.dataset)[TRAIN]
    found = [example for example in train if any(snapshot.rows_of(name) for name in example.oracle)]
    if not found:
        raise UsageError(
            "passages.method: no train example names a passage of this index in its field oracle; "
            "take dense, bm25 or fusion, or map the field with dataset.fields.oracle"
        )
    return found


def _digest(examples: Sequence[Example], snapshot: Snapshot) -> str:
    rows = [[example.request, example.question_id, list(example.oracle)] for example in examples]
    parts = [VERSION, snapshot.fingerprint, snapshot.meta.corpus, rows]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _is_current(path: Path, fingerprint: str, digest: str) -> bool:
    try:
        return load(path, fingerprint).digest == digest
    except ServiceError:
        return False
