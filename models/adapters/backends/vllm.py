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
from models.adapters.backends.vllm_engine import first_line, start_engine
from models.core.engine_load import Load
from models.core.errors import AccessError, BadRequest, ContextOverflow, Unavailable, WorkerUnusable
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Limits, Request, Usage

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM


log = logging.getLogger(__name__)
MAX_DEATHS = 3
T = TypeVar("T")


class VLLMBackend:
    """An engine that the first request opens. It belongs to one event loop.

    A request's parameters are those of vLLM's SamplingParams; without `max_tokens` an answer may fill the
    context.
    """

    def __init__(self, model: Model) -> None:
        self.limits = Limits()
        self.load = Load(model.engine.sequences, time.monotonic)
        self._model = model
        self._opening = asyncio.Lock()
        self._engine: Any = None
        self._tokenizer: Any = None
        self._special: dict[str, int] = {}
        # The adapters by folder or name, with the numbers that the engine knows them by.
        self._adapters: dict[str, int] = {}
        self._numbers = itertools.count()
        self._deaths = 0

    def __str__(self) -> str:
        return f"model {self._model.name}"

    @property
    def is_open(self) -> bool:
        return self._engine is not None

    async def open(self) -> None:
        """Start the engine once. Raises AccessError for any machine, WorkerUnusable for this one only."""
        async with self._opening:
            if self._engine is None:
                self._engine = await run_in_daemon_thread(
                    lambda: start_engine(self._model, self.load, str(self))
                )
                self._tokenizer = self._engine.get_tokenizer()
                self._special = self._tokenizer.get_added_vocab()

    def count_tokens(self, request: Request) -> int | None:
        """Return the tokens of the prompt; None until the model is open."""
        return len(self._encode(request)) if self._tokenizer else None

    async def complete(self, request: Request, adapter: str = "") -> Completion:
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
                output
                async for output in engine.generate(
                    {"prompt_token_ids": prompt}, params, number, lora_request=self._lora(adapter)
                )
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

    async def add_adapter(self, path: str) -> None:
        """Load a LoRA adapter. Raises AccessError if it does not fit the model."""
        await self.open()
        try:
            await self._engine.add_lora(self._lora(path))
        except Exception as error:
            raise AccessError(f"{self}: vLLM cannot open the adapter {path}: {first_line(error)}") from error

    def _lora(self, adapter: str) -> Any:
        if not adapter:
            return None
        from vllm.lora.request import LoRARequest

        number = self._adapters.setdefault(adapter, len(self._adapters) + 1)
        return LoRARequest(adapter, number, adapter)

    def _encode(self, request: Request) -> list[int]:
        if request.prompt is not None:
            return list(self._tokenizer.encode(request.prompt))
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        if not self._tokenizer.chat_template:
            raise AccessError(
                f"{self}: {self._model.model} has no chat template; "
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


class LoraAdapter:
    """A model that is a LoRA adapter on the engine of another, which several adapters share."""

    def __init__(self, engine: VLLMBackend, path: str) -> None:
        self.limits = engine.limits
        self.load = engine.load
        self._engine = engine
        self._path = path
        self._added = False

    @property
    def is_open(self) -> bool:
        return self._engine.is_open and self._added

    async def open(self) -> None:
        """Open the engine and load the adapter once. Raises AccessError, WorkerUnusable."""
        if not self.is_open:
            await self._engine.add_adapter(self._path)
            self._added = True

    async def complete(self, request: Request) -> Completion:
        """Raises like VLLMBackend."""
        await self.open()
        return await self._engine.complete(request, self._path)

    def count_tokens(self, request: Request) -> int | None:
        return self._engine.count_tokens(request)

    async def close(self) -> None:
        """Do nothing: the engine is closed by itself."""


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
