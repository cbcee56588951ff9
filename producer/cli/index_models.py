"""`starmill index train` and `index quantize`: encoders made for an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.adapters.encoders.checkpoint import find_weights
from models.adapters.encoders.onnx_encoder import export_onnx
from models.core.errors import ServiceError
from producer.cli.common import ExperimentArgument, SetOption
from producer.experiments.load import load_experiment
from producer.files import replacing_folder
from producer.index import require_passages
from producer.index.training_data import TrainingOptions
from producer.safe_console import messages, progress_bar

if TYPE_CHECKING:
    from producer.index.training_data import Pairs


DEFAULT = TrainingOptions()


def train(
    experiment: ExperimentArgument,
    output: Annotated[Path, typer.Option("-o", metavar="FOLDER", help="where the encoder is saved")],
    set_: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the training in FOLDER was")] = False,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="times that each pair is seen")
    ] = DEFAULT.epochs,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="decides order, dropout and negatives")
    ] = DEFAULT.seed,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=2, help="pairs in a step; each stands against all others")
    ] = DEFAULT.batch_size,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", min=0, max=1, help="at the end of the warm-up")
    ] = DEFAULT.learning_rate,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.001, help="divides similarities in the loss")
    ] = DEFAULT.temperature,
    hard_negatives: Annotated[
        int, typer.Option("--hard-negatives", min=0, max=30, help="for each pair, mined before the training")
    ] = DEFAULT.hard_negatives,
    unlabelled: Annotated[
        int, typer.Option("--unlabelled", min=0, help="passages in a step that are paired with themselves")
    ] = DEFAULT.unlabelled,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="also ask each passage for its request")
    ] = DEFAULT.symmetric,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=8, help="cut of texts while training")
    ] = DEFAULT.max_tokens,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="of torch; default: the processors")
    ] = None,
    save_minutes: Annotated[
        float, typer.Option("--save-minutes", min=0, help="between two saved states")
    ] = 5,
) -> None:
    """Train the encoder of an experiment on the requests of its train split and their oracle passages."""
    config = load_experiment(experiment, set_ or [])
    try:
        import torch

        from producer.index.train import TrainingObserver
        from producer.index.train import train as train_encoder
    except ImportError as error:
        raise ServiceError(f"{error.name} is not installed; pip install 'starmill[torch]'") from None
    if threads:
        torch.set_num_threads(threads)
    options = TrainingOptions(
        epochs=epochs, seed=seed, batch_size=batch_size, learning_rate=learning_rate, temperature=temperature,
        hard_negatives=hard_negatives, unlabelled=unlabelled, symmetric=symmetric, max_tokens=max_tokens,
    )  # fmt: skip
    out = messages()

    def began(data: Pairs) -> None:
        left_out = f", {data.left_out:,} without a passage left out" if data.left_out else ""
        out.print(f"{len(data.pairs):,} pairs of {len(data.requests):,} requests{left_out}")

    try:
        with progress_bar() as progress:
            bar = progress.add_task("training", total=None)
            observer = TrainingObserver(
                started=began,
                stepped=lambda made, steps: progress.update(bar, completed=made, total=steps),
                epoch_ended=lambda epoch, loss: out.print(f"epoch {epoch} of {epochs}: loss {loss:.4f}"),
            )
            train_encoder(config, output, options, observer, resume=resume, save_every=60 * save_minutes)
    except KeyboardInterrupt:
        out.print(f"interrupted; go on with --resume and the same options: {output}")
        raise
    out.print(f"saved in {output}; use it with --set passages.encoder={output}, after `starmill index build`")


def quantize(
    experiment: ExperimentArgument,
    output: Annotated[Path, typer.Option("-o", metavar="FOLDER", help="where the encoder is saved")],
    set_: SetOption = None,
    full: Annotated[bool, typer.Option("--full", help="export only: keep 32-bit numbers")] = False,
) -> None:
    """Convert the encoder of an experiment to 8-bit ONNX, which ONNX Runtime runs without torch."""
    checkpoint = find_weights(require_passages(load_experiment(experiment, set_ or [])).encoder)
    with replacing_folder(output) as draft:
        export_onnx(checkpoint, draft, quantize=not full)
    messages().print(
        f"saved in {output}; use it with --set passages.encoder={output}, after `starmill index build`"
    )
