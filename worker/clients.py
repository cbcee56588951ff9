"""What is expensive to open: model clients, encoders, indexes. Opened at first use, once a process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio import Redis

from models.adapters.backends import limit_name, model_identity, open_backend, open_local_backend
from models.adapters.backends.backend import Backend, LocalBackend, Replay
from models.adapters.backends.gateway_client import Gateway
from models.adapters.sandbox.runner import Sandbox
from models.core.engine_load import LoadReading
from models.core.errors import DatasetError, ServiceError
from models.core.experiment.endpoints import Student, Teacher
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import Corpus, Search
from models.core.programs import ExecutionVerdict, Program, ProgramLimits
from models.core.recording import Recording
from models.core.tokens import TokenEstimate
from models.core.types import Hit, Passage, Query
from storage.jsonl import read_recording
from storage.ledger.purchases import Purchase
from storage.limits.limiter import CallOutcome, CallReport, Quota
from storage.limits.redis_limiter import RedisLimiter, connect
from storage.settings import Settings
from worker.admission import AdmissionQueue, UnlimitedAdmission

if TYPE_CHECKING:
    from storage.passages.retriever import Retriever

T = TypeVar("T")
# Settings that do not need a client of their own.
SHARED = {"name", "params", "price", "rpm", "tpm", "prompt_format"}
# Of a model that this process runs, those that need it opened once more; steering the others has to wait for
# the next worker, since a second copy would not fit into the memory of most.
OPENED: Any = {
    "backend": True,
    "model": True,
    "max_model_len": True,
    "quantization": True,
    "engine": {"tokenizer", "dtype", "trust_remote_code"},
}


@dataclass(frozen=True, slots=True)
class ModelClient:
    """The way to one model: its client, and the gate where calls wait for the limits of all workers."""

    name: str
    backend: Backend
    gate: AdmissionQueue | UnlimitedAdmission
    estimate: TokenEstimate
    local: LocalBackend | None = None

    def report(self, outcome: CallOutcome, tokens: int, retry_after: float | None = None) -> CallReport:
        """How a call ended, with the limits that the server told last."""
        limits = self.backend.limits
        return CallReport(outcome, tokens, retry_after, limits.rpm, limits.tpm)


class Clients:
    """All but `search` belongs to one event loop. `owner` is this process, as the limits know it."""

    def __init__(self, settings: Settings, owner: str) -> None:
        self._settings = settings
        self._owner = owner
        self._redis: Redis | None = None
        url = settings.gateway_url
        self._gateway = Gateway(url.get_secret_value()) if url else None
        self._backends: dict[str, Backend] = {}
        self._recordings: dict[tuple[str, str], Recording] = {}
        self._models: dict[str, LocalBackend] = {}
        self._identities: dict[str, str] = {}
        self._gates: dict[str, AdmissionQueue] = {}
        self._estimates: dict[str, TokenEstimate] = {}
        self._quotas: dict[str, Quota] = {}
        self._lines: dict[int, tuple[Teacher | Student, ModelClient]] = {}
        self._retrievers: dict[str, Retriever] = {}
        # Encoding holds the processor: one batch at a time, beside the loop.
        self._encoding = ThreadPoolExecutor(1, "encoder")
        # A program keeps one processor busy; its thread only waits.
        self._sandboxes: dict[ProgramLimits, Sandbox] = {}
        programs = os.cpu_count() or 2
        self._executing = ThreadPoolExecutor(programs, "sandbox")
        self._may_execute = asyncio.Semaphore(programs)

    def line(self, endpoint: Teacher | Student) -> ModelClient:
        """Endpoints of one model and key share its limits; what was said last of them holds."""
        known = self._lines.get(id(endpoint))
        if known is None:
            # The endpoint is kept: another object could get its id.
            known = self._lines[id(endpoint)] = (endpoint, self._line(endpoint))
        return known[1]

    def recording(self, endpoint: Teacher | Student) -> Recording:
        """What an endpoint of backend `replay` answers from. Raises ServiceError."""
        key = (endpoint.recording or "", endpoint.recording_sha256)
        if key not in self._recordings:
            try:
                self._recordings[key] = read_recording(Path(key[0]), key[1])
            except DatasetError as error:
                raise ServiceError(str(error)) from None
        return self._recordings[key]

    def loads(self) -> dict[str, LoadReading]:
        """How full the engines of this process are, by model."""
        return {
            self._identities[key]: model.load.read() for key, model in self._models.items() if model.is_open
        }

    def committed(self, purchases: Iterable[Purchase | None]) -> None:
        """These are in the ledger: nobody else needs to hold their answers."""
        if self._gateway:
            self._gateway.forget(purchase.request.key for purchase in purchases if purchase)

    async def search(
        self, experiment: Experiment, how: Search, queries: Sequence[Query], depth: int
    ) -> list[list[Hit]]:
        """The `depth` best passages of each query, best first. Raises ServiceError."""
        return await self._retrieve(experiment, lambda retriever: retriever.search(queries, depth, how))

    async def encode(self, experiment: Experiment, requests: Sequence[str]) -> list[str]:
        """The packed vector of each request. Raises ServiceError."""
        return await self._retrieve(experiment, lambda retriever: retriever.encode(requests))

    async def lookup(self, experiment: Experiment, ids: Sequence[Sequence[str]]) -> list[list[Passage]]:
        """The passages of each list of ids, in its order; unknown ids are left out. Raises ServiceError."""
        return await self._retrieve(experiment, lambda retriever: [retriever.lookup(each) for each in ids])

    async def draw(
        self, experiment: Experiment, seeds: Sequence[str], counts: Sequence[int]
    ) -> list[list[Passage]]:
        """For each seed as many passages at random, fewer where there are no more. Raises ServiceError."""
        wanted = list(zip(seeds, counts, strict=True))
        return await self._retrieve(
            experiment, lambda retriever: [retriever.draw(seed, count) for seed, count in wanted]
        )

    async def execute(
        self, program: Program, limits: ProgramLimits, go_on: Callable[[], None]
    ) -> ExecutionVerdict:
        """What came of a program behind the wall; `go_on` may raise when its turn comes. Raises
        ServiceError where there can be no wall."""
        async with self._may_execute:
            go_on()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executing, self._execute, program, limits)

    async def turn_away(self) -> None:
        """Calls that wait for a limit are cancelled; those in flight go on."""
        for gate in self._gates.values():
            await gate.close()

    async def close(self) -> None:
        await self.turn_away()
        for backend in (*self._backends.values(), *self._models.values()):
            await backend.close()
        if self._gateway:
            await self._gateway.close()
        if self._redis:
            await self._redis.aclose()
        self._encoding.shutdown(wait=False)
        self._executing.shutdown(wait=False)

    def _line(self, endpoint: Teacher | Student) -> ModelClient:
        if isinstance(endpoint, Student) and endpoint.runs_in_worker:
            model = self._model(endpoint)
            return ModelClient(endpoint.name, model, UnlimitedAdmission(), TokenEstimate(), model)
        name = limit_name(endpoint)
        self._quotas[name] = Quota(endpoint.rpm, endpoint.tpm, endpoint.max_concurrency)
        estimate = self._estimates.setdefault(name, TokenEstimate())
        return ModelClient(endpoint.name, self._backend(endpoint), self._gate(name), estimate)

    def _model(self, student: Student) -> LocalBackend:
        key = student.model_dump_json(include=OPENED)
        if key not in self._models:
            self._models[key] = open_local_backend(student)
            self._identities[key] = model_identity(student)
        return self._models[key]

    def _backend(self, endpoint: Teacher | Student) -> Backend:
        key = endpoint.model_dump_json(exclude=SHARED)
        if key not in self._backends:
            if endpoint.backend == "replay":
                self._backends[key] = Replay(self.recording(endpoint))
            else:
                self._backends[key] = open_backend(endpoint, self._settings.embedded_url, self._gateway)
        return self._backends[key]

    def _gate(self, name: str) -> AdmissionQueue:
        if name not in self._gates:
            self._redis = self._redis or connect(self._settings.broker)
            limiter = RedisLimiter(self._redis, name)
            self._gates[name] = AdmissionQueue(limiter, self._quota_of(name), self._owner, name)
        return self._gates[name]

    def _quota_of(self, name: str) -> Callable[[], Quota]:
        return lambda: self._quotas[name]

    def _execute(self, program: Program, limits: ProgramLimits) -> ExecutionVerdict:
        if limits not in self._sandboxes:
            sandbox = Sandbox(limits)
            # A sandbox that runs nothing must not judge.
            sandbox.check()
            self._sandboxes[limits] = sandbox
        return self._sandboxes[limits].run(program)

    async def _retrieve(self, experiment: Experiment, ask: Callable[[Retriever], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._encoding, lambda: ask(self._retriever(experiment)))

    def _retriever(self, experiment: Experiment) -> Retriever:
        # Only workers that search need numpy and an encoder.
        from storage.passages.retriever import Retriever
        from storage.passages.snapshot import copy_missing_snapshot

        passages, dataset = experiment.passages, experiment.dataset
        key = passages.model_dump_json(include=set(Corpus.model_fields)) + dataset.model_dump_json()
        if key not in self._retrievers:
            copy_missing_snapshot(passages, self._settings.milvus, self._settings.root)
            threads = max(1, (os.cpu_count() or 2) // 2)
            self._retrievers[key] = Retriever(passages, self._settings.root, threads, dataset)
        return self._retrievers[key]
