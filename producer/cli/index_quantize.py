"""`starmill index quantize`: the encoder of an experiment for ONNX Runtime, in 8-bit integers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.encoders import find_checkpoint
from models.encoders.export import export_onnx
from producer.cli.common import messages
from producer.experiments import load_experiment
from producer.files import replacing_folder


def quantize(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a preset or a YAML file")],
    output: Annotated[Path, typer.Option("-o", metavar="FOLDER", help="where the encoder is saved")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change a value of the experiment"),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="export only: keep 32-bit numbers")] = False,
) -> None:
    """Convert the encoder of an experiment to 8-bit ONNX, which ONNX Runtime runs without torch."""
    checkpoint = find_checkpoint(load_experiment(experiment, set_ or []).passages.encoder)
    with replacing_folder(output) as draft:
        export_onnx(checkpoint, draft, quantize=not full)
    messages().print(
        f"saved in {output}; use it with --set passages.encoder={output}, after `starmill index build`"
    )
