"""`starmill index build`, killed when a part of the new passages is stored."""

from __future__ import annotations

import json
import re
from pathlib import Path

from producer.experiments.load import load_experiment
from storage.passages import index_path
from storage.passages.snapshot import Snapshot
from tests.support.pipeline import Home, wait_until

FEW, MANY = 8, 600


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    home, corpus, experiment = Home(tmp_path / "home"), tmp_path / "docs.jsonl", tmp_path / "e.yaml"
    experiment.write_text(
        "name: e\ndataset: {path: ., train: train.jsonl, test: test.jsonl}\n"
        "passages: {source: jsonl, path: docs.jsonl}\nteacher: embedded\nstudents: [embedded]\n"
    )

    def write(count: int) -> None:
        rows = ({"id": f"m.f{row}", "text": f"number {row} of the functions"} for row in range(count))
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def published() -> int:
        return len(Snapshot.open(index_path(load_experiment(str(experiment)).passages, home.path)))

    write(FEW)
    home.starmill("index", "build", experiment)
    write(MANY)
    store = home.path / "milvus.db"
    before = size(store)
    with home.started("index", "build", experiment):
        # A part of 256 passages takes seconds to encode, and is stored at once: 384 numbers each.
        wait_until(lambda: size(store) > before + 256 * 384 * 4, "a part is stored")
    assert published() == FEW
    stderr = home.starmill("index", "build", experiment).stderr
    match = re.search(r"(\d+) passages, (\d+) newly encoded", stderr)
    assert match is not None
    assert int(match[1]) == published() == MANY
    assert 0 < int(match[2]) < MANY - FEW
