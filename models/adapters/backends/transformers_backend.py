"""Backend `transformers`: the model runs in a thread of the worker, on its CPU or GPU."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from models.adapters.backends.causal_model import CausalModel
from models.adapters.backends.decoding import SequenceState
from models.adapters.backends.sampling_params import Sampling
from models.core.engine_load import Load
from models.core.errors import AccessError, ModelError
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Limits, Request

GATHER = 0.005  # seconds in which requests come together
PendingRequest = tuple[SequenceState, "asyncio.Future[Completion]"]


class TransformersBackend:
    """A model that the first request opens. It belongs to one event loop.

    Waiting requests are sorted by length and answered together, `engine.max_num_seqs` at once. Raises
    AccessError for settings that only vLLM understands.
    """

    def __init__(self, model: Model) -> None:
        self.limits = Limits()
        if model.quantization or model.engine.tensor_parallel_size > 1:
            raise AccessError(f"model {model.name}: quantization and tensor_parallel_size need backend vllm")
        self.load = Load(model.engine.max_num_seqs, time.monotonic)
        self._model = model
        self._thread = ThreadPoolExecutor(1, "transformers")
        self._opening: asyncio.Future[CausalModel] | None = None
        self._waiting: list[PendingRequest] = []
        self._answering: asyncio.Task[None] | None = None
        self._unanswered: set[asyncio.Future[Completion]] = set()

    def count_tokens(self, request: Request) -> int | None:
        """Return the tokens of the prompt; None until the model is open."""
        opening = self._opening
        return len(opening.result().tokens(request)) if opening and self.is_open else None

    @property
    def is_open(self) -> bool:
        opening = self._opening
        return opening is not None and opening.done() and not opening.cancelled() and not opening.exception()

    async def open(self) -> None:
        """Open the model. Raises AccessError."""
        await self._open()

    async def complete(self, request: Request) -> Completion:
        """Answer a request in the next batch. Raises ModelError: AccessError if the model cannot open."""
        model = await self._open()
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((model.prepare(request), answer))
        self._unanswered.add(answer)
        answer.add_done_callback(self._unanswered.discard)
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._answer(model))
        return await answer

    async def close(self) -> None:
        """End the current batch after its next token, and cancel its calls."""
        if self._answering:
            self._answering.cancel()
        for answer in tuple(self._unanswered):
            answer.cancel()
        if self._opening and self.is_open:
            self._opening.result().cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _open(self) -> CausalModel:
        if self._opening is None:
            loop = asyncio.get_running_loop()
            self._opening = asyncio.ensure_future(
                loop.run_in_executor(self._thread, CausalModel, self._model)
            )
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except ModelError:
            # The run may be resumed after a repair, in this process too.
            if self._opening is opening:
                self._opening = None
            raise

    async def _answer(self, model: CausalModel) -> None:
        await asyncio.sleep(GATHER)
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for batch in _batches(waiting, self._model.engine.max_num_seqs):
                await self._answer_batch(model, [pending for pending in batch if not pending[1].done()])

    async def _answer_batch(self, model: CausalModel, batch: list[PendingRequest]) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        self.load.record(len(batch), len(self._unanswered) - len(batch))
        try:
            completions = await loop.run_in_executor(self._thread, model.generate, [row for row, _ in batch])
        except ModelError as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        finally:
            self.load.record(0, max(0, len(self._unanswered) - len(batch)))
        for (_, answer), completion in zip(batch, completions, strict=True):
            self.load.answered(completion.usage)
            if not answer.done():
                answer.set_result(completion)


def _batches(waiting: Iterable[PendingRequest], max_size: int) -> Iterator[list[PendingRequest]]:
    """Group requests with equal sampling parameters and similar length, so that little is padded."""
    groups: dict[Sampling, list[PendingRequest]] = {}
    for pending in waiting:
        sampling = replace(pending[0].sampling, seed=None, max_tokens=None, stop=())
        groups.setdefault(sampling, []).append(pending)
    for group in groups.values():
        group.sort(key=lambda pending: len(pending[0].prompt))
        yield from (group[start : start + max_size] for start in range(0, len(group), max_size))
