"""`starmill data apply-delta`: weights made of a difference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from producer.cli.common import messages, progress_bar
from producer.weights import delta as weights


def apply_delta(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="folder of the model it is a difference to")],
    delta: Annotated[Path, typer.Argument(metavar="DELTA", help="folder of the difference")],
    output: Annotated[Path, typer.Option("-o", metavar="FOLDER", help="a new folder for the model")],
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"], typer.Option(help="how the sums are saved")
    ] = "float32",
    checksum: Annotated[
        float | None, typer.Option(metavar="SUM", help="what all numbers of the model must add up to")
    ] = None,
) -> None:
    """Add a published difference of weights, such as Alpaca-7B's, to its base, such as LLaMA-7B."""
    with progress_bar() as bar:
        row = bar.add_task("tensors", total=None)
        count = weights.apply_delta(
            base, delta, output, dtype, checksum,
            lambda done, total: bar.update(row, completed=done, total=total),
        )  # fmt: skip
    messages().print(f"{count} tensors in {output}; a student uses it by `model: {output}`")
