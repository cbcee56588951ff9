"""Backend `vllm`: vLLM's asynchronous engine, started by the worker in processes of its own.

The engine batches all calls in flight and computes shared prompt prefixes once (paged attention; Kwon et
al., 2023). `end_with_parent` is a plugin of vLLM.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from models.adapters.backends.sampling_params import ALIASES
from models.core.engine_load import Load
from models.core.errors import AccessError, BadRequest, ContextOverflow, Unavailable, WorkerUnusable
from models.core.experiment.endpoints import Student
from models.core.types import Completion, Limits, Request, Usage

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM


log = logging.getLogger(__name__)
MAX_DEATHS = 3
MAX_MESSAGE = 300
T = TypeVar("T")
# Forking a process that runs threads may hang the child.
ENVIRONMENT = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


class VLLMBackend:
    """An engine that the first request opens. It belongs to one event loop.

    A request's parameters are those of vLLM's SamplingParams; without `max_tokens` an answer may fill the
    context.
    """

    def __init__(self, student: Student) -> None:
        self.limits = Limits()
        self.load = Load(student.engine.max_num_seqs, time.monotonic)
        self._student = student
        self._opening = asyncio.Lock()
        self._engine: Any = None
        self._tokenizer: Any = None
        self._special: dict[str, int] = {}
        self._numbers = itertools.count()
        self._deaths = 0

    def __str__(self) -> str:
        return f"student {self._student.name}"

    @property
    def is_open(self) -> bool:
        return self._engine is not None

    async def open(self) -> None:
        """Start the engine once. Raises AccessError for any machine, WorkerUnusable for this one only."""
        async with self._opening:
            if self._engine is None:
                self._engine = await run_in_daemon_thread(self._start)
                self._tokenizer = self._engine.get_tokenizer()
                self._special = self._tokenizer.get_added_vocab()

    def count_tokens(self, request: Request) -> int | None:
        """Return the tokens of the prompt; None until the model is open."""
        return len(self._encode(request)) if self._tokenizer else None

    async def complete(self, request: Request) -> Completion:
        """Raises BadRequest, ContextOverflow, AccessError, and Unavailable if the engine dies."""
        await self.open()
        engine = self._engine
        if engine is None:  # it died after `open`
            raise self._engine_died(engine)
        prompt = self._encode(request)
        params = self._sampling(request, len(prompt), engine.model_config.max_model_len)
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        number = str(next(self._numbers))
        try:
            outputs = [
                output async for output in engine.generate({"prompt_token_ids": prompt}, params, number)
            ]
        except EngineDeadError:
            raise self._engine_died(engine) from None
        except EngineGenerateError as error:
            raise Unavailable(f"{self}: vLLM: {error.__cause__ or error}") from None
        except VLLMClientError as error:
            raise BadRequest(f"{self}: vLLM: {error}") from None
        self._deaths = 0
        answer = outputs[-1].outputs[0]
        usage = Usage(len(prompt), outputs[-1].num_cached_tokens or 0, len(answer.token_ids))
        self.load.answered(usage)
        return Completion(answer.text, answer.finish_reason or "", usage)

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine:
            engine.shutdown()

    def _start(self) -> AsyncLLM:
        """Start the engine; block until the weights are loaded."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise WorkerUnusable(
                f"backend vllm: {error}; pip install 'starmill[vllm]' on the machines that serve the queue "
                f"of student {self._student.name}"
            ) from error
        student, engine = self._student, self._student.engine
        optional = {
            "tokenizer": engine.tokenizer,
            "max_model_len": student.max_model_len,
            "quantization": student.quantization,
        }
        try:
            config = AsyncEngineArgs(
                model=student.model,
                dtype=engine.dtype,
                tensor_parallel_size=engine.tensor_parallel_size,
                max_num_seqs=engine.max_num_seqs,
                gpu_memory_utilization=engine.gpu_memory_utilization,
                enforce_eager=engine.enforce_eager,
                trust_remote_code=engine.trust_remote_code,
                enable_prefix_caching=True,
                **{name: value for name, value in optional.items() if value},
            ).create_engine_config()
        except Exception as error:
            raise AccessError(f"{self}: vLLM cannot open {student.model}: {first_line(error)}") from error
        try:
            return AsyncLLM.from_vllm_config(
                config, disable_log_stats=True, stat_loggers=[_stat_logger(self.load)]
            )
        except Exception as error:
            raise WorkerUnusable(
                f"{self}: vLLM does not start with {student.model} ({first_line(error)}); its processes "
                "wrote above why. Where memory is short: lower max_model_len or engine.max_num_seqs, set "
                "engine.gpu_memory_utilization to what is free, or quantization"
            ) from error

    def _encode(self, request: Request) -> list[int]:
        if request.prompt is not None:
            return list(self._tokenizer.encode(request.prompt))
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        if not self._tokenizer.chat_template:
            raise AccessError(
                f"{self}: {self._student.model} has no chat template; "
                "set prompt_format to raw, chatml or alpaca"
            )
        encoded = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return list(encoded["input_ids"])

    def _sampling(self, request: Request, prompt: int, context: int) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        given = {ALIASES.get(name, name): value for name, value in request.params.items()}
        given = {"max_tokens": max(1, context - prompt), "stop_token_ids": self._stop_tokens(given), **given}
        try:
            params = SamplingParams(**given, output_kind=RequestOutputKind.FINAL_ONLY)
        except Exception as error:
            raise AccessError(f"{self}: params: {first_line(error)}") from error
        if not prompt:
            raise BadRequest(f"{self}: the prompt is empty")
        if prompt + (params.max_tokens or 0) > context:
            wanted = f"{prompt} tokens of prompt and {params.max_tokens} of answer"
            raise ContextOverflow(f"{self}: {wanted} do not fit into {context}")
        return params

    def _stop_tokens(self, params: Mapping[str, Any]) -> list[int]:
        # vLLM removes special tokens from an answer before it looks for stop strings.
        stop = params.get("stop") or []
        texts = [stop] if isinstance(stop, str) else stop
        return [self._special[text] for text in texts if text in self._special]

    def _engine_died(self, engine: AsyncLLM | None) -> Unavailable:
        """Count a death once for all calls in flight. Raises WorkerUnusable after `MAX_DEATHS`."""
        if engine is not None and self._engine is engine:
            self._engine = None
            self.load.record(0, 0)
            self._deaths += 1
            log.error("%s: vLLM's engine died; it is opened again", self)
            threading.Thread(target=engine.shutdown, name="engine shutdown", daemon=True).start()
        if self._deaths >= MAX_DEATHS:
            raise WorkerUnusable(
                f"{self}: vLLM's engine died {self._deaths} times without an answer in between; "
                "its processes wrote above why"
            )
        return Unavailable(f"{self}: vLLM's engine died")


def _stat_logger(load: Load) -> Callable[..., Any]:
    from vllm.v1.metrics.loggers import StatLoggerBase

    class Occupancy(StatLoggerBase):  # type: ignore[misc]  # without vLLM its base is unknown
        """vLLM reports after every step how many sequences run and wait."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def record(self, scheduler_stats: Any, *_: Any, **__: Any) -> None:
            if scheduler_stats is not None:
                load.record(scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs)

        def log_engine_initialized(self) -> None: ...

    return Occupancy


def end_with_parent() -> None:
    """End the vLLM process in which this runs when the process that started it is gone.

    vLLM finds this by its entry point and calls it in each of its processes. Without it, the engine of a
    killed worker would hold its GPU for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()


async def run_in_daemon_thread(function: Callable[[], T]) -> T:
    """Run `function` in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not done.done():
            set_outcome()

    def work() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 (the awaiting caller gets it)
            failure = error
            loop.call_soon_threadsafe(settle, lambda: done.set_exception(failure))
        else:
            loop.call_soon_threadsafe(settle, lambda: done.set_result(result))

    threading.Thread(target=work, name="opening", daemon=True).start()
    return await done


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, cut short; pydantic puts a heading before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        lines = lines[1:]
    message = lines[0] if lines else type(error).__name__
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
