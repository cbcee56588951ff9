"""vLLM alone on the prompts that a worker has asked, in a process that leaves no memory taken.

python -m tests.engine.gpu.alone JOB.json RESULT.json
python -m tests.engine.gpu.alone throughput ARGUMENT ...         # what `vllm bench throughput` runs
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from models.adapters.backends.vllm_engine import ENVIRONMENT


def main(arguments: list[str]) -> None:
    for name, value in {**ENVIRONMENT, "VLLM_LOGGING_LEVEL": "ERROR"}.items():
        os.environ.setdefault(name, value)
    if arguments[0] == "throughput":
        _throughput(arguments[1:])
        return
    job, result = (Path(argument) for argument in arguments)
    measure(json.loads(job.read_text()), result)


def measure(job: dict[str, Any], result: Path) -> None:
    """Answer each file of prompts of the job; write all figures after each."""
    from vllm import LLM, SamplingParams

    started = time.monotonic()
    model = LLM(**job["arguments"])
    model.generate(["warm"] * 8, SamplingParams(max_tokens=8), use_tqdm=False)
    figures: dict[str, Any] = {"opening_seconds": round(time.monotonic() - started, 1)}
    for case, path in job["prompts"].items():
        requests = json.loads(Path(path).read_text())
        for order, ordered in _orders(requests, job["orders"] if case == "grid" else ["as fed"]).items():
            params = [SamplingParams(**request["params"]) for request in ordered]
            model.reset_prefix_cache()
            started = time.monotonic()
            outputs = model.generate([request["prompt"] for request in ordered], params, use_tqdm=False)
            seconds = time.monotonic() - started
            tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
            figures[case if order == "as fed" else f"{case}, {order}"] = {
                "seconds": round(seconds, 2), "tokens": tokens,
                "tokens_per_second": round(tokens / seconds, 1), "cached": round(_cached(outputs), 3),
            }  # fmt: skip
            result.write_text(json.dumps(figures))


def _orders(requests: list[dict[str, Any]], orders: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the requests by order: those of one cell begin alike, so that sorting puts them together."""
    made = {
        "as fed": requests,
        "by cell": sorted(requests, key=lambda request: str(request["prompt"])),
        "shuffled": random.Random(7).sample(requests, len(requests)),
    }
    return {order: made[order] for order in orders}


def _cached(outputs: list[Any]) -> float:
    """Return the share of prompt tokens that the prefix cache had."""
    asked = sum(len(output.prompt_token_ids) for output in outputs)
    return sum(output.num_cached_tokens or 0 for output in outputs) / asked


def _throughput(arguments: list[str]) -> None:
    # The command `vllm` asks for a distribution of that name, which the CPU build is not.
    from vllm.benchmarks import throughput
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    throughput.add_cli_args(parser)
    throughput.main(parser.parse_args(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
