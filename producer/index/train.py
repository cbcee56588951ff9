"""Train the sentence encoder of an experiment on requests and the passages that answer them.

The training loop is our own, because the trainer of sentence-transformers 6.2, which also resumes to the
same weights, takes known answers for negatives, has no loss over pairs and unlabelled passages together,
reads CodeT5 with a wrong tokenizer, and reached a recall@10 of 51 against 53 (one epoch, 400 requests).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.adapters.encoders.checkpoint import FILE, Checkpoint, find_weights
from models.core.errors import ServiceError, UsageError
from models.core.experiment.experiment import Experiment
from producer.corpus import read_passages
from producer.experiments.datasets import read_dataset
from producer.feeding.interrupts import StopSignal
from producer.files import replacing_folder
from producer.index import require_passages
from producer.index.trainer import TrainableEncoder, Trainer
from producer.index.training_data import (
    Pairs,
    TrainingBatches,
    TrainingOptions,
    make_pairs,
    mine_hard_negatives,
)
from storage.schema import TRAIN

STATE_FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class TrainingCheckpoint:
    """The state of an unfinished training, in one file of `folder` that is replaced as a whole.

    `identity` decides the trained weights; the state of another identity is refused.
    """

    folder: Path
    identity: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.folder / STATE_FILE

    def save(self, state: dict[str, Any]) -> None:
        draft = self.path.with_suffix(".tmp")
        try:
            torch.save({"identity": dict(self.identity), **state}, draft)
            os.replace(draft, self.path)
        except (OSError, RuntimeError) as error:
            raise UsageError(f"-o {self.folder}: cannot be written: {error}") from None

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, or None. Raises UsageError for the state of another training."""
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location="cpu")
            identity = state.pop("identity")
        except Exception as error:
            # torch raises many unrelated errors for a damaged file.
            raise UsageError(f"{self.path} is damaged ({type(error).__name__}); remove it") from error
        for key, value in self.identity.items():
            if identity.get(key) != value:
                raise UsageError(
                    f"{self.path} is of a training with another {key} ({identity.get(key)}, not {value}); "
                    "give the same options, or remove it"
                )
        return state


@dataclass(frozen=True, slots=True)
class TrainingObserver:
    """Functions that get the data, (steps made, all steps), and (epoch from 1, mean loss)."""

    started: Callable[[Pairs], None]
    stepped: Callable[[int, int], None]
    epoch_ended: Callable[[int, float], None]


def train(
    experiment: Experiment,
    folder: Path,
    options: TrainingOptions,
    observer: TrainingObserver,
    *,
    resume: bool = False,
    save_every: float = 300,
) -> None:
    """Train the encoder of `experiment` on the pairs of its train split, and save it in `folder`.

    The state is saved there every `save_every` seconds, and when Ctrl-C or SIGTERM ends the training by
    KeyboardInterrupt. With `resume` it continues there, and ends with the weights of an undisturbed training.
    Raises UsageError for data without pairs and for a folder that holds another training or an encoder, and
    ServiceError if the encoder cannot be trained.
    """
    config = require_passages(experiment)
    base = find_weights(config.encoder)
    if base.kind == "onnx":
        raise ServiceError(
            f"passages.encoder: {base.path} is an ONNX graph, which cannot be trained; name the folder that "
            "it was exported from"
        )
    if (folder / FILE).is_file():
        raise UsageError(f"-o {folder}: holds an encoder already; give another folder")
    passages = read_passages(config)
    data = make_pairs(read_dataset(experiment)[TRAIN], passages, base.template)
    identity = {"data": data.digest, "base": base.fingerprint, **asdict(options)}
    checkpoint = TrainingCheckpoint(folder, identity)
    state = checkpoint.load()
    if state and not resume:
        raise UsageError(f"-o {folder}: holds an unfinished training; go on with --resume, or remove it")
    observer.started(data)
    _make_folder(folder)
    encoder = TrainableEncoder(base)
    mined = state["mined"].numpy() if state else _mine(data, encoder, options)
    trainer = Trainer(encoder, TrainingBatches(data, options, mined), options)
    losses: list[float] = state["losses"] if state else []
    if state:
        trainer.restore(state)

    def save() -> None:
        checkpoint.save({"mined": torch.from_numpy(mined), "losses": losses, **trainer.state()})

    _run_epochs(trainer, losses, observer, save, save_every)
    notes = {**identity, "pairs": len(data.pairs), "passages": len(data.passages), "steps": trainer.step}
    _publish(encoder, folder, base, {**notes, "loss": losses[-1], "threads": torch.get_num_threads()})
    checkpoint.path.unlink()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o {folder}: cannot be made: {error.strerror or error}") from None


def _mine(data: Pairs, encoder: TrainableEncoder, options: TrainingOptions) -> NDArray[np.int64]:
    if not options.hard_negatives:
        return np.empty((len(data.pairs), 0), dtype=np.int64)
    return mine_hard_negatives(data, encoder.encode(data.requests), encoder.encode(data.passages))


def _run_epochs(
    trainer: Trainer, losses: list[float], observer: TrainingObserver, save: Callable[[], None],
    save_every: float,
) -> None:  # fmt: skip
    """Train to the end. `losses` holds the mean of each epoch, and of the current one so far."""
    last_saved = time.monotonic()
    steps, per_epoch = trainer.batches.count, trainer.batches.per_epoch
    with StopSignal() as stop, stop.deferred():
        while trainer.step < steps:
            epoch, part = divmod(trainer.step, per_epoch)
            loss = trainer.advance()
            losses[epoch:] = [loss if part == 0 else losses[epoch] + (loss - losses[epoch]) / (part + 1)]
            observer.stepped(trainer.step, steps)
            if part + 1 == per_epoch:
                observer.epoch_ended(epoch + 1, losses[epoch])
            if stop.requested or time.monotonic() - last_saved >= save_every:
                save()
                last_saved = time.monotonic()
            stop.check()
    # Publishing takes a few more seconds, in which the machine may die.
    save()


def _publish(encoder: TrainableEncoder, folder: Path, base: Checkpoint, notes: dict[str, Any]) -> None:
    versions = {name: version(name) for name in ("starmill", "torch", "transformers")}
    with replacing_folder(folder) as draft:
        encoder.save(str(draft))
        described = {**asdict(base.options), "training": {**notes, **versions}}
        (draft / FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
