"""Build the passage index of an experiment, in Milvus and as a snapshot, and let it learn from train rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders import open_encoder
from models.adapters.encoders.checkpoint import find_checkpoint
from models.adapters.encoders.encoder import Encoder, NoEncoder, passage_text
from models.adapters.private_files import private_folder
from models.core.errors import ServiceError, UsageError
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import LEARNED, Passages
from models.core.pipeline.grid import Searches
from models.core.retrieval.learned_ranking import TrainedCorpus, TrainingExamples, train_rankings
from models.core.retrieval.solved_examples import normalize
from models.core.retrieval.source_usage import count_uses, usage_keys
from models.core.types import Example, Passage
from models.core.words import question_group, without_literals
from producer.corpus import attributions, read_passages
from producer.corpus.attribution import write_attributions
from producer.experiments.datasets import read_dataset
from producer.files import exclusive
from producer.index import require_passages
from producer.index.installed_source import installed_source
from storage.passages import corpus_hash, index_name, index_path
from storage.passages.learned_index import (
    LearnedIndex,
    learned_index_path,
    load_learned_index,
    open_lexicon,
    save_learned_index,
)
from storage.passages.milvus_store import MilvusStore
from storage.passages.snapshot import CorpusVectors, Meta, Snapshot, write_snapshot
from storage.passages.vectors import ROUNDING
from storage.schema import TRAIN

# An interrupted build loses one batch at most: a few seconds of encoding.
PASSAGES_PER_BATCH = 256
PROBES = 64
PROBE_DEPTH = 10
MIN_RECALL = 0.99
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Index:
    """A built index.

    `path` is the folder of its snapshot, `encoded` the number of new passages, None if no search compares
    vectors. `replaced` says that another
    encoder had made the index that was there.
    """

    name: str
    path: Path
    count: int
    fingerprint: str
    encoded: int | None
    replaced: bool = False

    def __str__(self) -> str:
        encoded = "" if self.encoded is None else f", {self.encoded:,} newly encoded"
        why = " since another encoder had made the index" if self.replaced else ""
        return f"index {self.name}: {self.count:,} passages{encoded}{why}"


def build_index(
    config: Passages,
    milvus_uri: str,
    home: Path,
    progress: Progress | None = None,
    encoder: Encoder | None = None,
) -> Index:
    """Bring the index of `config` up to date and publish its snapshot below `home`.

    Only new passages are encoded, by `encoder` or the one that `config` names; an interrupted build resumes
    where it stopped. If nothing has changed, neither Milvus nor the model is opened. Where no search
    compares vectors, none are made, and only a Milvus server is opened, from which other machines copy.
    `progress` gets (passages encoded, passages to encode). Raises UsageError for the passages, and
    ServiceError for the encoder, for Milvus, and for a search that misses neighbours.
    """
    name, path = index_name(config), index_path(config, home)
    used = encoder or (None if config.needs_vectors else NoEncoder())
    without_vectors = isinstance(used, NoEncoder)
    known = used or find_checkpoint(config.encoder)
    passages = {passage.key: passage for passage in read_passages(config)}
    sources = attributions(config)
    earlier = _published(path)
    if earlier and earlier.fingerprint == known.fingerprint and earlier.corpus == corpus_hash(passages):
        write_attributions(path, sources)
        return Index(name, path, len(passages), known.fingerprint, None if without_vectors else 0)
    private_folder(path)
    # A second builder would remove unfinished files.
    with exclusive(path / "lock", f"{path} is being built by another process; wait for it to end"):
        if isinstance(used, NoEncoder) and "://" not in milvus_uri:
            vectors, encoded = used.encode(list(passages)), None
        else:
            vectors, encoded = _build_in_milvus(config, milvus_uri, path, passages, used, progress)
        write_attributions(path, sources)
        write_snapshot(path, list(passages.values()), vectors, known.fingerprint)
    replaced = bool(encoded and earlier and earlier.fingerprint != known.fingerprint)
    encoded = None if without_vectors else encoded
    return Index(name, path, len(passages), known.fingerprint, encoded, replaced)


def _published(path: Path) -> Meta | None:
    """Return what the snapshot in `path` holds, if there is one."""
    try:
        return Snapshot.open(path).meta
    except ServiceError:
        return None


def _build_in_milvus(
    config: Passages,
    uri: str,
    path: Path,
    passages: Mapping[str, Passage],
    encoder: Encoder | None,
    progress: Progress | None,
) -> tuple[NDArray[np.float32], int]:
    """Return the vectors of the passages, in their order, and the number of those that were new."""
    name, known = index_name(config), encoder or find_checkpoint(config.encoder)
    with MilvusStore.open(uri, name, known.fingerprint, known.dimension) as store:
        stored = store.keys()
        new = [passage for key, passage in passages.items() if key not in stored]
        vectors = CorpusVectors(passages, known.dimension)
        vectors.recall(path, known.fingerprint)
        if new:
            _encode(new, encoder or open_encoder(config.encoder), store, vectors, progress or _no_progress)
        store.delete(stored - passages.keys())
        store.seal()
        vectors.complete(store)
        _probe(store, vectors.rows)
        store.publish(name)
        store.drop_others(name)
    return vectors.rows, len(new)


def _encode(
    passages: list[Passage], encoder: Encoder, store: MilvusStore, vectors: CorpusVectors, progress: Progress
) -> None:
    progress(0, len(passages))
    for start in range(0, len(passages), PASSAGES_PER_BATCH):
        part = passages[start : start + PASSAGES_PER_BATCH]
        encoded = encoder.encode([passage_text(passage, encoder.template) for passage in part])
        store.upsert(part, encoded)
        for passage, vector in zip(part, encoded, strict=True):
            vectors.put(passage.key, vector)
        progress(start + len(part), len(passages))


def _no_progress(_done: int, _total: int) -> None: ...


def _probe(store: MilvusStore, vectors: NDArray[np.float32]) -> None:
    """Compare the index's neighbours with the exact ones by score, since passages may be equal."""
    queries = vectors[:: max(1, len(vectors) // PROBES)][:PROBES]
    depth = min(PROBE_DEPTH, len(vectors))
    exact = np.sort(queries @ vectors.T, axis=1)[:, -depth]
    results = store.search(queries, depth)
    min_scores = exact - ROUNDING * np.maximum(1, np.abs(exact))
    near = sum(hit.score >= min_ for hits, min_ in zip(results, min_scores, strict=True) for hit in hits)
    recall = near / (len(queries) * depth)
    if recall < MIN_RECALL:
        raise ServiceError(
            f"{store.label} finds {recall:.1%} of the nearest passages, less than {MIN_RECALL:.0%}; "
            "drop the collection and build the index again"
        )


# To be increased when the learning changes: the digest of what was learned contains it.
LEARNING_VERSION = "2"


def needs_learning(passages: Passages) -> bool:
    """Return whether a search of the experiment uses solved examples."""
    return any(choice.method in LEARNED for choice in Searches.read(passages).choices.values())


def learn_index(experiment: Experiment, home: Path, progress: Progress | None = None) -> int:
    """Learn from the train examples that name their passages, and return their number.

    The index must be built. Nothing is done if nothing has changed. `progress` gets (examples seen, examples
    to see). Raises UsageError if no example names a passage of the index.
    """
    passages = require_passages(experiment)
    path = learned_index_path(passages, experiment, home)
    snapshot = Snapshot.open(index_path(passages, home))
    examples = _solved_examples(experiment, snapshot)
    digest = _digest(examples, snapshot)
    if _is_learned(path, snapshot.fingerprint, digest):
        return len(examples)
    encoder = open_encoder(passages.encoder)
    requests = [example.request for example in examples]
    both = normalize(encoder.encode([*requests, *map(without_literals, requests)]))
    whole, bare = both[: len(requests)], both[len(requests) :]
    learned = LearnedIndex(
        snapshot.fingerprint, digest, [question_group(example.question_id) for example in examples],
        [list(example.oracle) for example in examples], whole, bare, [], _count_uses(snapshot),
    )  # fmt: skip
    lexicon = open_lexicon(snapshot)
    corpus = TrainedCorpus(
        snapshot.vectors, lexicon, learned.solved(snapshot, lexicon), learned.usage(snapshot)
    )
    answers = [[row for name in example.oracle for row in snapshot.rows_of(name)] for example in examples]
    lessons = TrainingExamples(requests, [example.question_id for example in examples], answers, whole, bare)
    rankings = train_rankings(lessons, corpus, experiment.seed, os.cpu_count() or 1, progress or _no_progress)
    save_learned_index(path, replace(learned, rankings=rankings))
    return len(examples)


def _count_uses(snapshot: Snapshot) -> dict[str, int]:
    """Count the uses of the passages' names in installed source code."""
    keys = {key for row in range(len(snapshot)) for key in usage_keys(snapshot.passage(row))}
    return dict(count_uses(installed_source(len(snapshot)), keys))


def _solved_examples(experiment: Experiment, snapshot: Snapshot) -> list[Example]:
    train = read_dataset(experiment)[TRAIN]
    solved = [example for example in train if any(snapshot.rows_of(name) for name in example.oracle)]
    if not solved:
        raise UsageError(
            "passages.method: no train example names a passage of this index in its field oracle; "
            f"take dense, bm25 or fusion, or map the field with {experiment.rows_key}.fields.oracle"
        )
    return solved


def _digest(examples: Sequence[Example], snapshot: Snapshot) -> str:
    rows = [[example.request, example.question_id, list(example.oracle)] for example in examples]
    parts = [LEARNING_VERSION, snapshot.fingerprint, snapshot.meta.corpus, rows]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _is_learned(path: Path, fingerprint: str, digest: str) -> bool:
    try:
        return load_learned_index(path, fingerprint).digest == digest
    except ServiceError:
        return False
