"""One prompt over all rows: the experiment that `starmill generate` and `starmill.generate` run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.core.errors import ExperimentError, UsageError
from models.core.experiment.experiment import Experiment
from models.core.prompts.column_values import ExpressionError
from models.core.prompts.expressions import prompt_text
from producer.experiments.datasets import read_dataset
from producer.experiments.json_values import save_rows
from producer.experiments.load import make_experiment
from producer.look_ahead.known_answers import LONGEST_NAME
from producer.run_rows import Results
from producer.runs import run
from storage.schema import TRAIN
from storage.settings import load_settings

COLUMN = "answer"
STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The keys of an entry of `models`. None leaves a key at its default."""

    model: str
    base_url: str | None = None
    backend: str = "openai"
    params: Mapping[str, Any] = field(default_factory=dict)
    api_key_env: str | None = None
    max_concurrency: int | None = None
    price: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The prompt, the column for the answers, and their limits."""

    prompt: str
    system: str | None = None
    column: str | None = None
    samples: int = 1
    budget_usd: float | None = None


def generate(
    rows: Any,
    prompt: str,
    *,
    model: str,
    base_url: str | None = None,
    backend: str = "openai",
    system: str | None = None,
    column: str | None = None,
    params: Mapping[str, Any] | None = None,
    samples: int = 1,
    max_concurrency: int | None = None,
    budget_usd: float | None = None,
    price: Mapping[str, float] | None = None,
    api_key_env: str | None = None,
) -> Results:
    """Ask the model once for each row, and return all rows with the answers in a new column.

    `rows` are dicts, a frame of pandas, a `Dataset` of `datasets`, or the name of a file. `prompt` is a text
    such as "Explain in one sentence: {{ question }}", in which columns stand by their names, or a file of it.
    The answers are in `column`, "answer" unless the rows have one; with several `samples` they are lists. A
    row that failed has None. The same call again asks nothing twice, and goes on after an interrupt (Ctrl-C).
    """
    asked = ModelOptions(model, base_url, backend, params or {}, api_key_env, max_concurrency, price)
    step = StepOptions(prompt, system, column, samples, budget_usd)
    with in_users_words(str):
        return run(prompt_experiment(rows, asked, step))


def prompt_experiment(rows: Any, asked: ModelOptions, step: StepOptions) -> Experiment:
    """Return the experiment of one step. Raise UsageError, or ExperimentError with a key of it."""
    path = rows if isinstance(rows, str | Path) else save_rows(rows, load_settings().root / "rows")
    column, text = step.column or COLUMN, _text(step.prompt)
    _check(asked, step, column, text)
    asks: dict[str, Any] = {"kind": "generate", "prompt": text, "samples": step.samples}
    if step.system:
        asks["system"] = _text(step.system)
    config: dict[str, Any] = {
        "name": _name(rows),
        "data": str(path),
        "models": {"teacher": {key: value for key, value in asdict(asked).items() if value is not None}},
        "steps": {column: asks},
        "budget_usd": step.budget_usd,
    }
    experiment = make_experiment(config["name"], config, Path.cwd())
    if column in next(iter(read_dataset(experiment)[TRAIN])).columns:
        raise ExperimentError("", f"steps.{column}.column", f"the rows have a column {column}; name another")
    return experiment


def _check(asked: ModelOptions, step: StepOptions, column: str, text: str) -> None:
    """Raise ExperimentError for what only this call needs, or says in fewer words."""
    problems = {
        "steps.column.column": (not STEP_NAME.fullmatch(column), "takes a word of letters, digits and _"),
        f"steps.{column}.column": (
            column in _columns_read(text),
            f"the prompt reads a column {column}; name another for the answers",
        ),
        f"steps.{column}.prompt": (not text.strip(), "is empty; say what to do with a row"),
        "models.teacher.model": (not asked.model.strip(), "is empty; name the model to ask"),
        "models.teacher.base_url": (
            (asked.base_url is not None or asked.backend == "server")
            and not (asked.base_url or "").startswith(("http://", "https://")),
            "must begin with http:// or https://, such as http://127.0.0.1:8000/v1",
        ),
        "budget_usd": (
            step.budget_usd is not None and not asked.price,
            "counts nothing without the price of the model; give it, too",
        ),
    }
    for key, (is_wrong, problem) in problems.items():
        if is_wrong:
            raise ExperimentError("", key, problem)


def _columns_read(text: str) -> frozenset[str]:
    """Return the columns that a prompt reads; none if it is no template, which the experiment says."""
    try:
        return prompt_text(text).columns
    except ExpressionError:
        return frozenset()


@contextmanager
def in_users_words(word: Callable[[str], str]) -> Iterator[None]:
    """Name options or arguments in errors where they name keys of the experiment. `word` maps the key of a
    model or step, such as `base_url`."""
    try:
        yield
    except ExperimentError as error:
        section, *keys = error.key.split(".")
        if section == "budget_usd":
            keys = ["", section]
        elif section not in ("steps", "models"):
            raise
        where = word(keys[1]) if len(keys) > 1 else word("model" if section == "models" else "column")
        raise UsageError(f"{where}: {error.problem}") from None


def _text(prompt: str) -> str:
    """Return the text, or the content of the file of this name. Raise UsageError."""
    try:
        if not Path(prompt).is_file():
            return prompt
        return Path(prompt).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise UsageError(f"{prompt}: is no text in UTF-8; write the prompt anew") from None
        return prompt  # longer than a name may be


def _name(rows: Any) -> str:
    stem = Path(rows).name.partition(".")[0] if isinstance(rows, str | Path) else "rows"
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:LONGEST_NAME] or "rows"
