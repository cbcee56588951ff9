"""A task folder in a run's configuration: prompt templates, and the module that judges answers.

The producer reads the folder. Its texts are part of the run's configuration, so that workers on other
machines need no files of it. The folder's `task.py` has a parser, a judge, or both, written by the user and
trusted:

    def extract(text: str) -> str                        find the answer in a student's text
    def correct(answer: str, reference: str) -> bool     tell if an answer is right

Workers execute it, in a process beside them, because the verdict decides the next call. So everyone who may
write to the ledger may run code there.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from models.core.errors import TaskFolderError
from models.core.experiment.endpoints import Name, StrictModel


class Prompts(StrictModel):
    """The source of each prompt template; only those that an experiment uses are needed."""

    augment: str = ""
    rationale: str = ""
    answer: str = ""
    verdict: str = ""
    grow: str = ""
    export: str = ""


class TaskFolder(StrictModel):
    """A task folder. `stop` are texts that end the answer of a student with prompt format `raw`, before it
    invents an example. `module` is the source of the folder's `task.py`, trusted code that workers
    execute."""

    name: Name
    prompts: Prompts
    stop: list[Annotated[str, Field(min_length=1)]] = Field([])
    module: str = ""


@dataclass(frozen=True, slots=True)
class TaskModule:
    """The functions of a `task.py`. Calls raise TaskFolderError with its file and line."""

    name: str
    functions: dict[str, Callable[..., Any]]

    def extract(self, text: str) -> str:
        return str(self.call("extract", text))

    def correct(self, answer: str, reference: str) -> bool:
        return bool(self.call("correct", answer, reference))

    def call(self, function: str, *arguments: Any) -> Any:
        """Return what the function returns. Raise TaskFolderError if it is not there, or raises."""
        if function not in self.functions:
            raise TaskFolderError(self.name, None, f"has no function {function}; define it, or name another")
        try:
            return self.functions[function](*arguments)
        except Exception as error:  # noqa: BLE001 (the user's code may raise anything)
            raise _broken(self.name, error) from None


@lru_cache(maxsize=32)
def load_module(source: str, file: str = "task.py") -> TaskModule:
    """Execute the module of this source, once per process. Raise TaskFolderError with file and line."""
    name = f"{file}@{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    namespace: dict[str, Any] = {"__name__": "starmill_task"}
    try:
        exec(compile(source, name, "exec"), namespace)  # noqa: S102 (the user's own, see above)
    except SyntaxError as error:
        raise TaskFolderError(name, error.lineno, f"is no Python: {error.msg}") from None
    except Exception as error:  # noqa: BLE001 (the user's code may raise anything)
        raise _broken(name, error) from None
    return TaskModule(name, {each: value for each, value in namespace.items() if callable(value)})


def _broken(name: str, error: Exception) -> TaskFolderError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    message = " ".join(str(error).split())
    return TaskFolderError(name, lines[-1] if lines else None, f"{type(error).__name__}: {message}")
