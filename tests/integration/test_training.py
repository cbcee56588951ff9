"""A tiny encoder, trained by the command; killed in the middle, and trained to the end all the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from models.adapters.encoders import open_encoder
from models.adapters.encoders.checkpoint import find_checkpoint
from tests.conftest import REPOSITORY
from tests.support.chores import read_jsonl, write_data, write_experiment, write_jsonl
from tests.support.command_line import starmill
from tests.support.encoders import tiny_bert, weights

COMMAND = "from producer.cli import main; main()"
# Every source of chance takes part.
OPTIONS = ["--epochs", "24", "--batch-size", "6", "--learning-rate", "0.004", "--hard-negatives", "2",
           "--unlabelled", "4", "--symmetric", "--threads", "1", "--seed", "7"]  # fmt: skip
ORACLES = ["lib.max", "lib.len", "lib.list.sort", "lib.list.index", "lib.str.join", "lib.reversed", "lib.set",
           "lib.str.strip"]  # fmt: skip


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen requests, and the passages that answer them."""
    folder = tmp_path_factory.mktemp("training")
    data = write_data(folder / "data", train=16, test=2)
    rows = read_jsonl(data / "train.jsonl")
    write_jsonl(
        data / "train.jsonl",
        [{**row, "oracle": [ORACLES[number % len(ORACLES)]]} for number, row in enumerate(rows)],
    )
    encoder = tiny_bert(folder / "encoder")
    passages = {"source": "jsonl", "path": "passages.jsonl", "encoder": str(encoder)}
    return write_experiment(data, "http://127.0.0.1:9", passages=passages)


@pytest.fixture(scope="module")
def undisturbed(experiment: Path) -> Path:
    """The result of a training without interruption."""
    folder = experiment.parent / "undisturbed"
    assert starmill("index", "train", str(experiment), "-o", str(folder), *OPTIONS) == 0
    return folder


def test_training_improves_retrieval_and_names_the_encoder(experiment: Path, undisturbed: Path) -> None:
    rows = read_jsonl(experiment.parent / "train.jsonl")
    passages = read_jsonl(experiment.parent / "passages.jsonl")
    ranks = []
    for folder in (experiment.parent.parent / "encoder", undisturbed):
        encoder = open_encoder(str(folder))
        texts = [f"lib {passage['name']}: {passage['text']}" for passage in passages]
        scores = encoder.encode([row["request"] for row in rows]) @ encoder.encode(texts).T
        ids = [passage["id"] for passage in passages]
        right = [score[ids.index(row["oracle"][0])] for row, score in zip(rows, scores, strict=True)]
        ranks.append(float(np.mean((scores > np.array(right)[:, None]).sum(axis=1))))
    assert ranks[1] < 1 < ranks[0]
    written = json.loads((undisturbed / "starmill.json").read_text())
    notes = written["training"]
    base = find_checkpoint(str(experiment.parent.parent / "encoder"))
    assert notes["base"] == base.fingerprint
    assert (notes["pairs"], notes["passages"], notes["steps"], notes["seed"]) == (16, 20, 72, 7)
    assert (written["pooling"], written["max_tokens"]) == ("mean", 64)
    assert not (undisturbed / "checkpoint.pt").exists()


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 3)])
def test_interrupted_training_ends_with_the_same_weights(
    signal_: signal.Signals, code: int, experiment: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    arguments = ["index", "train", str(experiment), "-o", str(folder), *OPTIONS]
    command = [sys.executable, "-c", COMMAND, *arguments, "--save-minutes", "0"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        while not (folder / "checkpoint.pt").is_file():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal_)
        _, stderr = process.communicate()
    assert process.returncode == code
    assert ("go on with --resume" in stderr) == (code == 3)
    step = torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    assert 0 < step < 72
    assert not (folder / "starmill.json").exists()

    assert starmill(*arguments) == 2
    assert starmill(*arguments, "--resume", "--seed", "8") == 2
    assert starmill(*arguments, "--resume") == 0
    resumed, expected = weights(folder), weights(undisturbed)
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[key], expected[key]) for key in expected)
    assert find_checkpoint(str(folder)).fingerprint == find_checkpoint(str(undisturbed)).fingerprint


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "undisturbed"], "holds an encoder already; give another folder"),
        (["-o", "new", "--set", "dataset.fields.oracle=none"], "dataset.train: fewer than two pairs"),
        (["-o", "new", "--set", "passages.encoder=nowhere"], "nowhere is neither minilm nor a folder"),
        (["-o", "new", "--epochs", "0"], "--epochs"),
    ],
)
def test_impossible_training_is_refused(
    arguments: list[str], says: str, experiment: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(experiment.parent)
    assert starmill("index", "train", str(experiment), *arguments) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert says in line
    assert not Path("new").exists()


def test_quantized_encoder_can_be_named(experiment: Path, undisturbed: Path, tmp_path: Path) -> None:
    whole = ["--set", f"passages.encoder={undisturbed}"]
    assert starmill("index", "quantize", str(experiment), *whole, "-o", str(tmp_path / "small")) == 0
    texts = ["sort list `a` in place", "get the largest number in list `b`"]
    small, large = (open_encoder(str(folder)).encode(texts) for folder in (tmp_path / "small", undisturbed))
    assert (small * large).sum(axis=1).min() > 0.95
    again = ["--set", f"passages.encoder={tmp_path / 'small'}"]
    assert starmill("index", "quantize", str(experiment), *again, "-o", str(tmp_path / "again")) == 2
    assert starmill("index", "train", str(experiment), *again, "-o", str(tmp_path / "again")) == 2
