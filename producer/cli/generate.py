"""`starmill generate`: one prompt over all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml

from models.core.errors import UsageError
from producer.cli.common import open_ledger
from producer.cli.execution import exit_on_failures, exit_unless_ended
from producer.feeding.interrupts import StopSignal
from producer.files import require_writable_file
from producer.look_ahead.before_run import tell_before_run
from producer.one_prompt import COLUMN, ModelOptions, StepOptions, in_users_words, prompt_experiment
from producer.origin import RunSource
from producer.planning import find_or_plan
from producer.progress import text
from producer.results.export.selection import RowSelection, select_rows
from producer.results.export.splits import Layout
from producer.results.export.writers import write_rows
from producer.runs import RunOptions, finish
from producer.safe_console import messages
from storage.ledger.queries import failures
from storage.logs import configure_logging
from storage.settings import load_settings

FORMATS = (".jsonl", ".csv", ".parquet")
FROM_LINE = RunOptions(way_on=lambda run: "the same line goes on with it")
OPTIONS = {"params": "--param"}
DETAIL = 200  # characters


def generate(
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="a file, a folder of datasets, or hf:NAME")],
    prompt: Annotated[
        str, typer.Option(metavar="TEXT|FILE", help="such as 'Explain: {{ question }}'; columns by name")
    ],
    model: Annotated[str, typer.Option(metavar="NAME", help="the model to ask")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="a file .jsonl, .csv or .parquet")
    ],
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="a server, such as http://127.0.0.1:8000/v1")
    ] = None,
    backend: Annotated[str, typer.Option(metavar="BACKEND", help="openai, server, embedded, ...")] = "openai",
    system: Annotated[str | None, typer.Option(metavar="TEXT|FILE", help="the system message")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="KEY=VALUE", help="such as temperature=0.2")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"the new column; default: {COLUMN}", show_default=False),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, metavar="N", help="answers for each row, as a list")] = 1,
    max_concurrency: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="calls in flight; default: 64", show_default=False)
    ] = None,
    budget_usd: Annotated[
        float | None, typer.Option("--budget-usd", metavar="AMOUNT", help="what all may cost; needs --price")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(metavar="IN,OUT", help="dollars per million tokens of prompts and of answers"),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option("--api-key-env", metavar="VARIABLE", help="the variable that holds the key")
    ] = None,
) -> None:
    """Ask a model once for each row, and write all rows with the answers in a new column. Started again, it
    continues; finished, it writes the same rows. A row that failed has no answer, and the exit code is 1."""
    format_ = _format(output, rows)
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    asked = ModelOptions(
        model, base_url, backend, dict(map(_param, param or [])), api_key_env, max_concurrency, _price(price)
    )
    step = StepOptions(prompt, system, column, samples, budget_usd)
    out = messages()
    with StopSignal() as stop, open_ledger(settings) as db:
        with in_users_words(lambda key: OPTIONS.get(key, f"--{key.replace('_', '-')}")):
            experiment = prompt_experiment(rows, asked, step)
            source = RunSource(("generate", rows, *_given(asked, step, price), "-o", str(output)), rows)
            run = find_or_plan(db, experiment, settings, True, out.print, source=source)
        tell_before_run(db, run, out.print)
        status = finish(db, run, settings, FROM_LINE, stop)
        exit_unless_ended(status, FROM_LINE)
        selection = RowSelection("rows", format=format_)
        written = write_rows(db, run, select_rows(db, run, selection), output, selection, Layout())
        out.print(text.summary_line(status))
        if status.unpriced:
            out.print("--price IN,OUT, in dollars per million tokens, has the cost counted")
        out.print(f"wrote {written.total:,} rows to {output}")
        for reason, number in status.failures.items():
            first = next(failures(db, run.id, reason))
            detail = " ".join((first.detail or "").split())[:DETAIL]
            out.print(f"without an answer: {number:,}, {reason}" + (f", such as: {detail}" if detail else ""))
    exit_on_failures(status)


def _format(output: Path, rows: str) -> str:
    if output.suffix not in FORMATS:
        raise UsageError(f"-o {output}: its ending is none of {', '.join(FORMATS)}; give it one of them")
    if output.exists() and Path(rows).exists() and output.samefile(rows):
        raise UsageError(f"-o {output}: is the file of the rows; write to another")
    require_writable_file(output)
    return output.suffix.removeprefix(".")


def _param(given: str) -> tuple[str, object]:
    key, separator, value = given.partition("=")
    if not key or not separator:
        raise UsageError(f"--param {given}: give it as KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        return key, value


def _given(asked: ModelOptions, step: StepOptions, price: str | None) -> list[str]:
    """Return the options as they can be typed, without those that are not given."""
    options: dict[str, object] = {
        "--prompt": step.prompt, "--model": asked.model, "--base-url": asked.base_url,
        "--backend": asked.backend if asked.backend != "openai" else None, "--system": step.system,
        "--column": step.column, "--samples": step.samples if step.samples > 1 else None,
        "--max-concurrency": asked.max_concurrency, "--budget-usd": step.budget_usd, "--price": price,
        "--api-key-env": asked.api_key_env,
    }  # fmt: skip
    words = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    params = (f"{key}={json.dumps(value)}" for key, value in asked.params.items())
    return words + [word for param in params for word in ("--param", param)]


def _price(given: str | None) -> dict[str, float] | None:
    if given is None:
        return None
    try:
        input_, output = map(float, given.split(","))
    except ValueError:
        raise UsageError(
            f"--price {given}: give dollars per million tokens of prompts and of answers, such as 0.25,2"
        ) from None
    return {"input": input_, "output": output}
