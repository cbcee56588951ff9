"""How far an unfinished training has come, on disk.

From an experiment to an encoder that `passages.encoder` can name.

Trains a sentence encoder on requests and the passages that answer them.
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

from models.adapters.encoders.checkpoint import FILE, Checkpoint, find_checkpoint
from models.core.errors import ServiceError, UsageError
from models.core.experiment.experiment import Experiment
from producer.corpus import read_passages
from producer.experiments.datasets import read_dataset
from producer.feeding.interrupts import StopSignal
from producer.files import replacing_folder
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
    """The state of a training in `folder`, kept in one file that is replaced as a whole.

    `identity` is what decides the outcome; a file of another identity is refused.
    """

    folder: Path
    identity: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.folder / STATE_FILE

    def prepare(self) -> None:
        """Make the folder: better refused now than after an hour."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"-o {self.folder}: cannot be made: {error.strerror or error}") from None

    def save(self, state: dict[str, Any]) -> None:
        draft = self.path.with_suffix(".tmp")
        try:
            torch.save({"identity": dict(self.identity), **state}, draft)
            os.replace(draft, self.path)
        except (OSError, RuntimeError) as error:
            raise UsageError(f"-o {self.folder}: cannot be written: {error}") from None

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was. Raises UsageError where it is of another training."""
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location="cpu")
            found = state.pop("identity")
        except Exception as error:
            # torch raises whatever the first damaged part of a file makes it raise.
            raise UsageError(f"{self.path} is damaged ({type(error).__name__}); remove it") from error
        for key, value in self.identity.items():
            if found.get(key) != value:
                raise UsageError(
                    f"{self.path} is of a training with another {key} ({found.get(key)}, not {value}); "
                    "give the same options, or remove it"
                )
        return state

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class TrainingObserver:
    """Hears of what is learned from, of (steps made, all steps), and of (epoch from 1, mean loss)."""

    begins: Callable[[Pairs], None]
    stepped: Callable[[int, int], None]
    ended_epoch: Callable[[int, float], None]


def train(
    experiment: Experiment,
    folder: Path,
    recipe: TrainingOptions,
    watcher: TrainingObserver,
    *,
    resume: bool = False,
    save_every: float = 300,
) -> None:
    """Train the encoder of `experiment` on the pairs of its train split, and save it in `folder`.

    The state is saved there every `save_every` seconds, and when Ctrl-C or SIGTERM ends the training by
    KeyboardInterrupt. With `resume` it goes on there, and the weights come out as if nothing had happened.
    Raises UsageError for data without pairs and for a folder that holds another training or an encoder,
    ServiceError where the encoder cannot be trained.
    """
    base = find_checkpoint(experiment.passages.encoder)
    if base.kind == "onnx":
        raise ServiceError(
            f"passages.encoder: {base.path} is an ONNX graph, which cannot be trained; name the folder that "
            "it was exported from"
        )
    if (folder / FILE).is_file():
        raise UsageError(f"-o {folder}: holds an encoder already; give another folder")
    passages = read_passages(experiment.passages)
    data = make_pairs(read_dataset(experiment.dataset)[TRAIN], passages, base.template)
    identity = {"data": data.digest, "base": base.fingerprint, **asdict(recipe)}
    progress = TrainingCheckpoint(folder, identity)
    saved = progress.load()
    if saved and not resume:
        raise UsageError(f"-o {folder}: holds an unfinished training; go on with --resume, or remove it")
    watcher.begins(data)
    progress.prepare()
    model = TrainableEncoder(base)
    mined = saved["mined"].numpy() if saved else _mined(data, model, recipe)
    trainer = Trainer(model, TrainingBatches(data, recipe, mined), recipe)
    losses: list[float] = saved["losses"] if saved else []
    if saved:
        trainer.restore(saved)

    def save() -> None:
        progress.save({"mined": torch.from_numpy(mined), "losses": losses, **trainer.state()})

    _go_on(trainer, losses, watcher, save, save_every)
    notes = {**identity, "pairs": len(data.pairs), "passages": len(data.passages), "steps": trainer.step}
    _publish(model, folder, base, {**notes, "loss": losses[-1], "threads": torch.get_num_threads()})
    progress.remove()


def _mined(data: Pairs, model: TrainableEncoder, recipe: TrainingOptions) -> NDArray[np.int64]:
    if not recipe.hard_negatives:
        return np.empty((len(data.pairs), 0), dtype=np.int64)
    return mine_hard_negatives(data, model.encode(data.requests), model.encode(data.passages))


def _go_on(
    trainer: Trainer,
    losses: list[float],
    watcher: TrainingObserver,
    save: Callable[[], None],
    save_every: float,
) -> None:
    """Train to the end. `losses` has one mean for each epoch, the last of them of the steps so far."""
    last_saved = time.monotonic()
    with StopSignal() as stop, stop.deferred():
        while not trainer.is_done:
            epoch, part = divmod(trainer.step, trainer.steps_per_epoch)
            loss = trainer.advance()
            losses[epoch:] = [loss if part == 0 else losses[epoch] + (loss - losses[epoch]) / (part + 1)]
            watcher.stepped(trainer.step, trainer.steps)
            if part + 1 == trainer.steps_per_epoch:
                watcher.ended_epoch(epoch + 1, losses[epoch])
            if stop.requested or time.monotonic() - last_saved >= save_every:
                save()
                last_saved = time.monotonic()
            stop.check()
    # What remains takes seconds, but a machine may die in any of them.
    save()


def _publish(model: TrainableEncoder, folder: Path, base: Checkpoint, notes: dict[str, Any]) -> None:
    versions = {name: version(name) for name in ("starmill", "torch", "transformers")}
    with replacing_folder(folder) as draft:
        model.save(str(draft))
        described = {**asdict(base.options), "training": {**notes, **versions}}
        (draft / FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
