"""What an index learned from the train split of a dataset: solved examples, and the ranking from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.dataset import Dataset
from models.errors import ServiceError
from models.retrieval.settings import Passages
from models.retrieval.solved import Solved, answer_matrix
from storage.passages.lexicons import save_arrays
from storage.passages.naming import index_path
from storage.passages.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Experience:
    """`question_ids` and `answers` (ids of passages) of the solved examples, and the vectors of their
    requests, of unit length, whole and without literals. `ranking` is as LightGBM writes it.

    `fingerprint` is the encoder's; `digest` is of all that was learned from.
    """

    fingerprint: str
    digest: str
    question_groups: Sequence[str]
    answers: Sequence[Sequence[str]]
    whole: NDArray[np.float32]
    bare: NDArray[np.float32]
    ranking: str

    def solved(self, snapshot: Snapshot) -> Solved:
        """The examples over the rows of this snapshot; passages that are no longer there say nothing."""
        rows = [[row for name in ids for row in snapshot.rows_of(name)] for ids in self.answers]
        return Solved(
            self.whole, self.bare, np.array(self.question_groups), answer_matrix(rows, len(snapshot))
        )


def experience_path(passages: Passages, dataset: Dataset, home: Path) -> Path:
    """The file for this index and this train split."""
    split = dataset.model_dump_json(include={"loader", "path", "train", "limit", "fields"})
    name = hashlib.sha256(split.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return index_path(passages, home) / f"experience-{name}.npz"


def save(path: Path, experience: Experience) -> None:
    texts = {
        "fingerprint": experience.fingerprint,
        "digest": experience.digest,
        "question_groups": list(experience.question_groups),
        "answers": [list(ids) for ids in experience.answers],
        "ranking": experience.ranking,
    }
    meta = np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)
    save_arrays(path, {"meta": meta, "whole": experience.whole, "bare": experience.bare})


def load(path: Path, fingerprint: str) -> Experience:
    """Raises ServiceError where nothing was learned, and where another encoder learned it."""
    try:
        with np.load(path) as file:
            texts = json.loads(file["meta"].tobytes())
            found = Experience(**texts, whole=file["whole"], bare=file["bare"])
    except FileNotFoundError:
        raise ServiceError(
            f"passages.method: nothing was learned from this dataset yet ({path} is missing); "
            "run `starmill index build`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServiceError(f"{path} is damaged ({error}); remove it and build the index again") from None
    if found.fingerprint != fingerprint:
        raise ServiceError(
            f"{path} was learned with encoder {found.fingerprint[:12]}, not with {fingerprint[:12]}; "
            "run `starmill index build` again"
        )
    return found
