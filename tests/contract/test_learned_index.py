"""A learned index is read back as it was written, and only in today's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.core.errors import ServiceError
from storage.passages.learned_index import LearnedIndex, load_learned_index, save_arrays, save_learned_index

VECTORS = np.eye(2, dtype=np.float32)
LEARNED = LearnedIndex("encoder", "d", ["1", "2"], [["a"], ["b"]], VECTORS, VECTORS, ["tree"], {"os.walk": 3})


def rewritten(path: Path, **changes: Any) -> None:
    """Write the file anew with other texts; None removes one."""
    with np.load(path) as file:
        texts = json.loads(file["meta"].tobytes()) | changes
    texts = {name: value for name, value in texts.items() if value is not None}
    meta = np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)
    save_arrays(path, {"meta": meta, "whole": VECTORS, "bare": VECTORS})


def test_everything_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "experience.npz"
    save_learned_index(path, LEARNED)
    learned = load_learned_index(path, "encoder")
    assert learned.whole.tolist() == learned.bare.tolist() == VECTORS.tolist()
    assert (learned.rankings, learned.uses) == (["tree"], {"os.walk": 3})
    assert (learned.digest, learned.question_groups, learned.answers) == ("d", ["1", "2"], [["a"], ["b"]])


def test_files_of_earlier_releases_are_refused_by_one_line(tmp_path: Path) -> None:
    path = tmp_path / "experience.npz"
    save_learned_index(path, LEARNED)
    rewritten(path, format=None, rankings=None, uses=None, ranking="tree")
    with pytest.raises(ServiceError, match=r"another release of Starmill; run `starmill index build` again"):
        load_learned_index(path, "encoder")


def test_damaged_files_and_other_encoders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "experience.npz"
    save_learned_index(path, LEARNED)
    with pytest.raises(ServiceError, match="was learned with encoder encoder, not with other"):
        load_learned_index(path, "other")
    rewritten(path, rankings=None)
    with pytest.raises(ServiceError, match="is damaged"):
        load_learned_index(path, "encoder")
