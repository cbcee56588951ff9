"""Every error that Starmill raises on purpose.

    StarmillError
    +-- UsageError               the user can mend it: exit code 2, one line
    |   +-- ExperimentError      experiment file: file, key, remedy
    |   +-- DatasetError         data file: file, line, reason
    |   +-- TaskFolderError      template or module of a task folder: file, line, remedy
    |   +-- ServiceError         Redis, database, Milvus or model server cannot be used
    +-- BudgetUsedUp             the run may not pay for more calls
    +-- WorkerUnusable           this worker cannot do the work, another may: it stops, its units go back
    +-- ModelError               a call to a model failed
        +-- TransportError       nothing was answered; ask again (never uses up a row's budget)
        |   +-- RateLimited      429; `retry_after` in seconds if the server says it
        |   +-- Unavailable      5xx, connection refused or broken, a generation that the server broke off
        |       +-- TimedOut     nothing came within the endpoint's `timeout`
        +-- BadRequest           the server refuses this request for good (400, 413, 422)
        |   +-- StrayRefusal     it says 400, 404, 424, 498 or 499 without a reason: it may pass
        |   +-- ContextOverflow  the request is longer than the model's context
        |   +-- Filtered         the server's content filter refuses the request
        |   +-- NotRecorded      a recording that is replayed holds no answer to it
        |   +-- ServerError      the server failed at it again and again, while it answered others
        +-- AccessError          no request can succeed: key refused, model unknown, quota used up

The message says what is wrong, where, and how to mend it. Only the command line turns errors into
exit codes, and only `models.adapters.backends` turns a provider's errors into these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.core.types import Usage


class StarmillError(Exception):
    """The base of all errors that Starmill raises."""


class UsageError(StarmillError):
    """The user gave something that cannot be used."""


class ExperimentError(UsageError):
    """The experiment is not valid."""

    def __init__(self, source: str, key: str, problem: str) -> None:
        where = f"{source}: {key}" if key else source
        super().__init__(" ".join(f"{where}: {problem}".splitlines()))
        self.key, self.problem = key, " ".join(problem.splitlines())


class DatasetError(UsageError):
    """A data file is not valid; `line` counts from 1."""

    def __init__(self, path: object, line: int | None, problem: str) -> None:
        where = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {problem}")


class TaskFolderError(UsageError):
    """A task folder cannot be used; `line` counts from 1."""

    def __init__(self, path: object, line: int | None, problem: str) -> None:
        where = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {problem}")
        self.line = line
        self.problem = problem


class ServiceError(UsageError):
    """A service that the command needs cannot be used."""


class BudgetUsedUp(StarmillError):
    """The run's budget does not allow the next call."""


class WorkerUnusable(StarmillError):
    """This process or machine cannot do the work; nothing is wrong with the unit."""


class ModelError(StarmillError):
    """A call to a model failed."""


class TransportError(ModelError):
    """Nothing was answered; the same request may succeed later."""


class RateLimited(TransportError):
    """The server asks for fewer requests. `retry_after` is in seconds, None if it did not say."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(TransportError):
    """The server could not answer. `retry_after` is in seconds, None if it did not say.

    `usage` is what it counted for a generation that it broke off and may bill; None if it made none.
    """

    def __init__(self, message: str, retry_after: float | None = None, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.usage = usage


class TimedOut(Unavailable):
    """The server did not answer in time. It may have generated, and may bill, an answer."""


class BadRequest(ModelError):
    """The server refuses this request for good. `reason` becomes the reason of the failed unit."""

    reason = "bad_request"


class StrayRefusal(BadRequest):
    """The server refuses without saying why, as proxies do in passing. Ask again MAX_RETRIES times."""

    MAX_RETRIES = 2


class ContextOverflow(BadRequest):
    """The request does not fit into the model's context."""

    reason = "context_overflow"


class Filtered(BadRequest):
    """The server's content filter refuses the request."""

    reason = "refusal"


class NotRecorded(BadRequest):
    """The recording that is replayed holds no answer to this request."""

    reason = "not_recorded"


class ServerError(BadRequest):
    """The server fails at this request, however often it is asked."""

    reason = "server_error"


def refusal_of(reason: str, message: str) -> BadRequest:
    """Return the refusal that ends a unit for this reason."""
    kinds: tuple[type[BadRequest], ...] = (ContextOverflow, Filtered, NotRecorded, ServerError)
    return next((kind for kind in kinds if kind.reason == reason), BadRequest)(message)


class AccessError(ModelError):
    """No request can succeed until a person changes something."""
