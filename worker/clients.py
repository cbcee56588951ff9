"""Clients of models, encoders and indexes, which are expensive to open: opened once, shared by all runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from models.adapters.backends import (
    engine_identity,
    limit_name,
    open_backend,
    open_local_backend,
    with_adapter,
)
from models.adapters.backends.backend import Backend, LocalBackend, Replay
from models.adapters.backends.gateway_client import GatewayClient
from models.adapters.python_process import PythonProcesses
from models.adapters.sandbox.runner import Sandbox
from models.core.engine_load import LoadReading
from models.core.errors import DatasetError, ServiceError
from models.core.experiment.endpoints import Model
from models.core.experiment.experiment import Experiment
from models.core.experiment.identity_keys import MUTABLE_ENGINE
from models.core.experiment.passages import Corpus
from models.core.programs import ExecutionVerdict, Program, ProgramLimits
from models.core.recording import Recorded
from models.core.tokens import TokenEstimate
from storage.answer_journal import AnswerJournal, journal_folder
from storage.jsonl import read_recorded
from storage.ledger.purchases import Purchase
from storage.limits.limiter import CallOutcome, CallReport, Quota
from storage.limits.redis_limiter import RedisLimiter, connect_redis
from storage.limits.troubles import report_worker
from storage.settings import Settings
from worker.admission import AdmissionQueue, UnlimitedAdmission
from worker.first_call import FirstCall, UsedUpLimits
from worker.model_health import ModelHealth
from worker.per_object import PerObject

if TYPE_CHECKING:
    from storage.passages.retriever import Retriever

T = TypeVar("T")
# A wait for a limit that is worth telling.
LONG_WAIT_SECONDS = 5.0
# Servers of runs that are over keep their connections, until there are more than so many.
MAX_SERVERS = 32
# Settings that do not need a client of their own.
SHARED = {"name", "params", "price", "rpm", "tpm", "prompt_format"}
# Settings of a model in this process that need it opened once more. Changes of other settings wait for the
# next worker, since a second copy would not fit into the memory of most machines.
OPENED = {"backend", "model", "max_model_len", "quantization", "engine"}


@dataclass(frozen=True, slots=True)
class ModelClient:
    """The backend of one model, and the queue in which calls wait for the limits of all workers. `health` is
    that of all clients of the model."""

    name: str
    backend: Backend
    admission: AdmissionQueue | UnlimitedAdmission
    estimate: TokenEstimate
    health: ModelHealth
    first_call: FirstCall
    local: LocalBackend | None = None
    used_up: UsedUpLimits = field(default_factory=UsedUpLimits)

    def report(self, outcome: CallOutcome, tokens: int, retry_after: float | None = None) -> CallReport:
        """Say how a call ended, with the limits that the server announced last."""
        limits = self.backend.limits
        return CallReport(outcome, tokens, retry_after, limits.rpm, limits.tpm)


class Clients:
    """All clients of a process. `owner` is the name of this process for the limits.

    Clients belong to one event loop, retrievers to a thread. Models stay open, and so do the clients of the
    MAX_SERVERS servers that were opened last; recordings and retrievers are dropped with the last run that
    uses them.
    """

    def __init__(self, settings: Settings, owner: str) -> None:
        self._settings = settings
        self._owner = owner
        self._redis: Redis | None = None
        url = settings.gateway_url
        self._gateway = GatewayClient(url.get_secret_value()) if url else None
        # It holds on disk what was answered and is not in the ledger yet.
        self.journal = AnswerJournal(journal_folder(settings))
        self._backends: dict[str, Backend] = {}
        self._models: dict[str, LocalBackend] = {}
        self._identities: dict[str, str] = {}
        self._admissions: dict[str, AdmissionQueue] = {}
        self._estimates: dict[str, TokenEstimate] = {}
        self._healths: dict[str, ModelHealth] = {}
        self._quotas: dict[str, Quota] = {}
        self._recordings: weakref.WeakValueDictionary[tuple[str, str, str], Recorded]
        self._recordings = weakref.WeakValueDictionary()
        self._recording_of_endpoint: PerObject[Recorded] = PerObject()
        self._client_of_endpoint: PerObject[ModelClient] = PerObject()
        self._retrievers: weakref.WeakValueDictionary[str, Retriever] = weakref.WeakValueDictionary()
        self._retriever_of_experiment: PerObject[Retriever] = PerObject()
        # One thread: an encoder uses the processors by itself.
        self._encoding = ThreadPoolExecutor(1, "encoder")
        # A program keeps one processor busy; its thread only waits.
        self._sandboxes: dict[ProgramLimits, Sandbox] = {}
        programs = os.cpu_count() or 2
        self._executing = ThreadPoolExecutor(programs, "sandbox")
        self._may_execute = asyncio.Semaphore(programs)
        self._python = PythonProcesses()

    def client(self, endpoint: Model) -> ModelClient:
        """Return the client. Endpoints of one model and key share limits; the newest endpoint sets them."""
        return self._client_of_endpoint.get(endpoint, lambda: self._open_client(endpoint))

    @property
    def servers(self) -> int:
        """The number of clients of servers that are open."""
        return len(self._backends)

    async def close_unused(self) -> None:
        """Close the oldest clients of servers, beyond MAX_SERVERS, that no run uses."""
        used = {id(client.backend) for client in self._client_of_endpoint.values()}
        idle = [key for key, backend in self._backends.items() if id(backend) not in used]
        for key in idle[: max(0, len(self._backends) - MAX_SERVERS)]:
            await self._backends.pop(key).close()

    def recording(self, endpoint: Model) -> Recorded:
        """Return the recording from which an endpoint of backend `replay` answers. Raise ServiceError if it
        cannot be read."""
        return self._recording_of_endpoint.get(endpoint, lambda: self._open_recording(endpoint))

    def loads(self) -> dict[str, LoadReading]:
        """Return how full the engines of this process are, by model."""
        return {
            self._identities[key]: model.load.read() for key, model in self._models.items() if model.is_open
        }

    def forget_answers(self, purchases: Iterable[Purchase | None]) -> None:
        """Tell journal and gateway that they need not hold these answers: they are in the ledger."""
        keys = [purchase.request.key for purchase in purchases if purchase]
        self.journal.forget(keys)
        if self._gateway:
            self._gateway.forget(keys)

    async def retrieve(self, experiment: Experiment, use: Callable[[Retriever], T]) -> T:
        """Call `use` in the encoder's thread with the retriever of the experiment. Raise ServiceError if
        there is no index."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._encoding, lambda: use(self._retriever(experiment)))

    async def execute(
        self, program: Program, limits: ProgramLimits, before_start: Callable[[], None]
    ) -> ExecutionVerdict:
        """Run a program in the sandbox; `before_start` may raise when its turn comes. Raise ServiceError if
        this machine cannot isolate programs."""
        async with self._may_execute:
            before_start()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executing, self._execute, program, limits)

    async def call_python(self, source: str, function: str, arguments: list[Any], seconds: float) -> Any:
        """Call a function of the user's own Python; see `PythonProcesses.call`."""
        async with self._may_execute:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._executing, self._python.call, source, function, arguments, seconds
            )

    async def cancel_waiting(self) -> None:
        """Cancel calls that wait for a limit; those in flight go on."""
        for admission in self._admissions.values():
            await admission.close()

    def cancel_run(self, run: str) -> None:
        """Cancel the calls of a run that wait for a limit."""
        for admission in self._admissions.values():
            admission.cancel_run(run)

    async def report(self, queues: Sequence[str]) -> None:
        """Report for displays which queues this worker serves, and what its calls wait for."""
        self._redis = self._redis or connect_redis(self._settings.broker)
        troubles = {
            name: self._healths[name].trouble(*admission.long_waits(LONG_WAIT_SECONDS))
            for name, admission in self._admissions.items()
        }
        with contextlib.suppress(RedisError):
            await report_worker(self._redis, self._owner, queues, troubles)

    async def close(self) -> None:
        await self.cancel_waiting()
        for backend in (*self._backends.values(), *self._models.values()):
            await backend.close()
        if self._gateway:
            await self._gateway.close()
        if self._redis:
            await self._redis.aclose()
        self._encoding.shutdown(wait=False)
        self._executing.shutdown(wait=False)
        self._python.close()
        self.journal.close()

    def _open_client(self, endpoint: Model) -> ModelClient:
        if endpoint.runs_in_worker:
            model = self._model(endpoint)
            health, first = ModelHealth(endpoint.name), FirstCall(answered=True)
            return ModelClient(
                endpoint.name, model, UnlimitedAdmission(), TokenEstimate(), health, first, model
            )
        name = limit_name(endpoint)
        self._quotas[name] = Quota(endpoint.rpm, endpoint.tpm, endpoint.max_concurrency)
        estimate = self._estimates.setdefault(name, TokenEstimate())
        health = self._healths.setdefault(name, ModelHealth(endpoint.name))
        return ModelClient(
            endpoint.name, self._backend(endpoint), self._admission(name), estimate, health, FirstCall()
        )

    def _open_recording(self, endpoint: Model) -> Recorded:
        cells_of = endpoint.name if endpoint.replays_cells else ""
        key = (cells_of, str(endpoint.recording), endpoint.recording_sha256)
        recording = self._recordings.get(key)
        if recording is None:
            try:
                recording = self._recordings[key] = read_recorded(endpoint)
            except DatasetError as error:
                raise ServiceError(str(error)) from None
        return recording

    def _model(self, model: Model) -> LocalBackend:
        opened = model.model_dump_json(include=OPENED, exclude={"engine": {"lora", *MUTABLE_ENGINE}})
        key = f"{bool(model.engine.lora)} {opened}"
        if key not in self._models:
            self._models[key] = open_local_backend(model)
            self._identities[key] = engine_identity(model)
        return with_adapter(self._models[key], model)

    def _backend(self, endpoint: Model) -> Backend:
        if endpoint.backend == "replay":
            return Replay(self.recording(endpoint))
        key = endpoint.model_dump_json(exclude=SHARED)
        if key not in self._backends:
            self._backends[key] = open_backend(
                endpoint,
                self._settings.embedded_url,
                self._gateway,
                self._settings.allowed_hosts,
            )
        return self._backends[key]

    def _admission(self, name: str) -> AdmissionQueue:
        if name not in self._admissions:
            self._redis = self._redis or connect_redis(self._settings.broker)
            limiter = RedisLimiter(self._redis, name)
            self._admissions[name] = AdmissionQueue(limiter, lambda: self._quotas[name], self._owner, name)
        return self._admissions[name]

    def _execute(self, program: Program, limits: ProgramLimits) -> ExecutionVerdict:
        if limits not in self._sandboxes:
            sandbox = Sandbox(limits)
            # A sandbox that runs nothing must not judge.
            sandbox.check()
            self._sandboxes[limits] = sandbox
        return self._sandboxes[limits].run(program)

    def _retriever(self, experiment: Experiment) -> Retriever:
        return self._retriever_of_experiment.get(experiment, lambda: self._open_retriever(experiment))

    def _open_retriever(self, experiment: Experiment) -> Retriever:
        # Only workers that search need numpy and an encoder.
        from storage.passages.learned_index import train_source
        from storage.passages.retriever import Retriever
        from storage.passages.snapshot import copy_missing_snapshot

        passages = experiment.passages
        assert passages
        key = passages.model_dump_json(include=set(Corpus.model_fields)) + train_source(experiment)
        retriever = self._retrievers.get(key)
        if retriever is None:
            copy_missing_snapshot(passages, self._settings.milvus, self._settings.root)
            threads = max(1, (os.cpu_count() or 2) // 2)
            retriever = self._retrievers[key] = Retriever(passages, self._settings.root, threads, experiment)
        return retriever
