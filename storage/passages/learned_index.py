"""Two files beside a snapshot: the lexicon of its passages, and what an index learned from a train split."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.core.errors import ServiceError
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import Passages
from models.core.retrieval.lexicon import Lexicon, build_lexicon
from models.core.retrieval.name_groups import NameGroups
from models.core.retrieval.solved_examples import SolvedExamples, solved_examples
from models.core.retrieval.source_usage import usage_table
from storage.passages import index_path
from storage.passages.snapshot import Snapshot

# Part of the file's name: a lexicon made by other rules is made again.
VERSION = 2
MATRICES = ("weights", "name_weights", "names", "last")
ARRAYS = ("idf", "library", "text_length")


def open_lexicon(snapshot: Snapshot) -> Lexicon:
    """Read the lexicon of the snapshot's passages, or build it in seconds and keep it for other processes."""
    path = snapshot.path / f"lexicon-{VERSION}-{snapshot.meta.corpus[:16]}.npz"
    try:
        return _read(path)
    except (OSError, ValueError, KeyError):
        lexicon = build_lexicon(snapshot.passage(row) for row in range(len(snapshot)))
        _write(path, lexicon)
        return lexicon


def _read(path: Path) -> Lexicon:
    with np.load(path) as file:
        words = json.loads(file["vocabulary"].tobytes())
        arrays: dict[str, Any] = {name: file[name] for name in ARRAYS}
        for name in MATRICES:
            parts = tuple(file[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
            arrays[name] = sparse.csr_array(parts, shape=tuple(file[f"{name}.shape"]))
        libraries = json.loads(file["libraries"].tobytes())
        arrays["groups"] = NameGroups(*(file[f"groups.{kind}"] for kind in NameGroups._fields))
    vocabulary = {word: index for index, word in enumerate(words)}
    return Lexicon(vocabulary=vocabulary, libraries=libraries, **arrays)


def _write(path: Path, lexicon: Lexicon) -> None:
    arrays = {name: getattr(lexicon, name) for name in ARRAYS}
    for name in MATRICES:
        matrix = getattr(lexicon, name)
        for part in ("data", "indices", "indptr"):
            arrays[f"{name}.{part}"] = getattr(matrix, part)
        arrays[f"{name}.shape"] = np.array(matrix.shape)
    arrays |= {f"groups.{kind}": numbers for kind, numbers in lexicon.groups._asdict().items()}
    for name, texts in (("vocabulary", list(lexicon.vocabulary)), ("libraries", list(lexicon.libraries))):
        arrays[name] = np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)
    save_arrays(path, arrays)
    for older in path.parent.glob("lexicon-*.npz"):
        if older != path:
            older.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write the arrays as the file `path`; readers see the old file or the new one."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
        np.savez(draft, **arrays)
    os.replace(draft.name, path)


# Of what is learned. Files of another version are learned again.
FORMAT = 2


@dataclass(frozen=True, slots=True)
class LearnedIndex:
    """The solved examples of a train split, and the rankings learned from them.

    `question_groups` and `answers` (ids of passages) have an entry for each example, `whole` and `bare` the
    vectors of its request, of unit length, with and without literals. `rankings` are LightGBM's texts, `uses`
    the counts of the passages' names in source code. `fingerprint` is the encoder's, `digest` that of
    everything that was learned from.
    """

    fingerprint: str
    digest: str
    question_groups: Sequence[str]
    answers: Sequence[Sequence[str]]
    whole: NDArray[np.float32]
    bare: NDArray[np.float32]
    rankings: Sequence[str]
    uses: Mapping[str, int]

    def solved(self, snapshot: Snapshot, lexicon: Lexicon) -> SolvedExamples:
        """Return the examples over the rows of this snapshot; they ignore passages that it lacks."""
        rows = [[row for name in ids for row in snapshot.rows_of(name)] for ids in self.answers]
        return solved_examples(
            self.whole, self.bare, self.question_groups, rows, snapshot.vectors, lexicon.groups
        )

    def usage(self, snapshot: Snapshot) -> NDArray[np.float32]:
        """Return how often names are used in source code, [passages, kinds]."""
        return usage_table([snapshot.passage(row) for row in range(len(snapshot))], self.uses)


def train_source(experiment: Experiment) -> str:
    """Return what names the train split: where its rows come from."""
    if experiment.dataset:
        return experiment.dataset.model_dump_json(include={"loader", "path", "train", "limit", "fields"})
    return experiment.model_dump_json(include={"data", "split"})


def learned_index_path(passages: Passages, experiment: Experiment, home: Path) -> Path:
    """Return the file for this index and this train split."""
    source = train_source(experiment)
    name = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return index_path(passages, home) / f"experience-{name}.npz"


def save_learned_index(path: Path, learned: LearnedIndex) -> None:
    texts = {
        "format": FORMAT,
        "fingerprint": learned.fingerprint,
        "digest": learned.digest,
        "question_groups": list(learned.question_groups),
        "answers": [list(ids) for ids in learned.answers],
        "rankings": list(learned.rankings),
        "uses": dict(learned.uses),
    }
    meta = np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)
    save_arrays(path, {"meta": meta, "whole": learned.whole, "bare": learned.bare})


def load_learned_index(path: Path, fingerprint: str) -> LearnedIndex:
    """Raise ServiceError if nothing was learned yet, or another encoder learned it."""
    try:
        with np.load(path) as file:
            texts = json.loads(file["meta"].tobytes())
            is_current = texts.pop("format", 1) == FORMAT
            learned = LearnedIndex(**texts, whole=file["whole"], bare=file["bare"]) if is_current else None
    except FileNotFoundError:
        raise ServiceError(
            f"passages.method: nothing was learned from this dataset yet ({path} is missing); "
            "run `starmill index build`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServiceError(f"{path} is damaged ({error}); remove it and build the index again") from None
    if learned is None:
        raise ServiceError(
            f"{path} was learned by another release of Starmill; run `starmill index build` again"
        )
    if learned.fingerprint != fingerprint:
        raise ServiceError(
            f"{path} was learned with encoder {learned.fingerprint[:12]}, not with {fingerprint[:12]}; "
            "run `starmill index build` again"
        )
    return learned
