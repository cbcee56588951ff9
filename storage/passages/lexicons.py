"""The words of an index as a file beside its snapshot, made by whoever needs it first."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from models.retrieval.lexicon import Lexicon, build_lexicon
from storage.passages.snapshot import Snapshot

# Written into the file's name: a lexicon that was made by other rules is made again.
VERSION = 1
MATRICES = ("weights", "name_weights", "names", "last")
ARRAYS = ("idf", "library", "text_length")


def open_lexicon(snapshot: Snapshot) -> Lexicon:
    """The lexicon of the snapshot's passages: read, or made in seconds and kept for the next process."""
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
    return Lexicon(
        vocabulary={word: place for place, word in enumerate(words)}, libraries=libraries, **arrays
    )


def _write(path: Path, lexicon: Lexicon) -> None:
    arrays = {name: getattr(lexicon, name) for name in ARRAYS}
    for name in MATRICES:
        matrix = getattr(lexicon, name)
        for part in ("data", "indices", "indptr"):
            arrays[f"{name}.{part}"] = getattr(matrix, part)
        arrays[f"{name}.shape"] = np.array(matrix.shape)
    for name, texts in (("vocabulary", list(lexicon.vocabulary)), ("libraries", list(lexicon.libraries))):
        arrays[name] = np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)
    save_arrays(path, arrays)
    for older in path.parent.glob("lexicon-*.npz"):
        if older != path:
            older.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """All of them in the file `path`, or none: readers see the old or the new."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
        np.savez(draft, **arrays)
    os.replace(draft.name, path)
