"""The start of vLLM's engine with a model's settings, of which any may be one of vLLM's own arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from models.core.engine_load import Load
from models.core.errors import AccessError, WorkerUnusable
from models.core.experiment.endpoints import Model
from models.core.near_names import did_you_mean

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.engine.async_llm import AsyncLLM

MAX_MESSAGE = 300
# Forking a process that runs threads may hang the child.
ENVIRONMENT = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def start_engine(model: Model, load: Load, label: str) -> AsyncLLM:
    """Start the engine; block until the weights are loaded. Raises AccessError, WorkerUnusable."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise WorkerUnusable(
            f"backend vllm: {error}; pip install 'starmill[vllm]' on the machines that serve {model.queue}"
        ) from error
    config = engine_config(model, label)
    try:
        return AsyncLLM.from_vllm_config(config, disable_log_stats=True, stat_loggers=[_stat_logger(load)])
    except Exception as error:
        raise WorkerUnusable(
            f"{label}: vLLM does not start with {model.model} ({first_line(error)}); its processes "
            "wrote above why. Where memory is short: lower max_model_len or engine.max_num_seqs, set "
            "engine.gpu_memory_utilization to what is free, or quantization"
        ) from error


def engine_config(model: Model, label: str) -> VllmConfig:
    """Return vLLM's own configuration. Raises AccessError for what it does not know or refuses."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    arguments = _arguments(model)
    _require_known(f"{label}: engine", arguments, [field.name for field in fields(AsyncEngineArgs)])
    try:
        return AsyncEngineArgs(**arguments).create_engine_config()
    except Exception as error:
        raise AccessError(f"{label}: vLLM cannot open {model.model}: {first_line(error)}") from error


def _arguments(model: Model) -> dict[str, Any]:
    optional = {
        "tokenizer": model.engine.tokenizer,
        "max_model_len": model.max_model_len,
        "quantization": model.quantization,
        "enable_lora": bool(model.engine.lora),
    }
    return {
        "model": model.model,
        "enable_prefix_caching": True,
        **{name: value for name, value in optional.items() if value},
        **model.engine.model_dump(exclude={"tokenizer", "lora"}),
    }


def _require_known(where: str, arguments: Mapping[str, Any], known: Collection[str]) -> None:
    import vllm

    for name in arguments:
        if name not in known:
            hint = did_you_mean(name, known, "look at the engine arguments of its documentation")
            raise AccessError(f"{where}.{name}: vLLM {vllm.__version__} has no such argument; {hint}")


def _stat_logger(load: Load) -> Callable[..., Any]:
    from vllm.v1.metrics.loggers import StatLoggerBase

    # Running and waiting sequences of each copy of the model.
    counts: dict[int, tuple[int, int]] = {}

    class Occupancy(StatLoggerBase):  # type: ignore[misc]  # without vLLM its base is unknown
        """vLLM reports after every step of a copy how many sequences run and wait."""

        def __init__(self, _: Any, engine_index: int = 0) -> None:
            self._index = engine_index

        def record(self, scheduler_stats: Any, *_: Any, **__: Any) -> None:
            if scheduler_stats is not None:
                stats = scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs
                counts[self._index] = stats
                running, waiting = zip(*counts.values(), strict=True)
                load.record(sum(running), sum(waiting))

        def log_engine_initialized(self) -> None: ...

    return Occupancy


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, cut short; of pydantic's, the key and what it says."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("For further information")]
    message = lines[0] if lines else type(error).__name__
    if len(lines) > 1 and "validation error" in lines[0]:
        message = ": ".join(line.partition(" [type=")[0] for line in lines[1:3])
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
