"""A task folder as a run keeps it: what models are asked, in which words, and by what an answer is judged.

The producer reads the folder; its texts then travel in the run's configuration, so that workers on other
machines need no file of it.

The `task.py` of a task folder: a parser, a judge, or both, written by the user and trusted as such.

    def extract(text: str) -> str                        what of a student's answer counts
    def correct(answer: str, reference: str) -> bool     whether an answer is right

Its source travels in the configuration of a run, and workers execute it: an answer decides what is asked
next, so that a judge elsewhere would be one more hop for each unit. Who may write to the ledger may thus run
code in the workers.
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
    """The source of each prompt template. Without `augment` requests cannot be augmented, without `grow` no
    new ones be grown; `verdict` asks a judge model."""

    augment: str = ""
    rationale: str
    answer: str
    verdict: str = ""
    grow: str = ""


class TaskFolder(StrictModel):
    """`stop` are texts at which the answer of a student with prompt format `raw` ends, where it would go on
    with an example of its own. `module` is the source of the folder's `task.py`: trusted code, which workers
    execute."""

    name: Name
    prompts: Prompts
    stop: list[Annotated[str, Field(min_length=1)]] = Field([])
    module: str = ""


@dataclass(frozen=True, slots=True)
class TaskModule:
    """What the module defines; calls raise TaskFolderError with its file and line."""

    name: str
    functions: dict[str, Callable[..., Any]]

    def extract(self, text: str) -> str:
        return str(self._call("extract", text))

    def correct(self, answer: str, reference: str) -> bool:
        return bool(self._call("correct", answer, reference))

    def _call(self, function: str, *given: str) -> Any:
        if function not in self.functions:
            raise TaskFolderError(
                self.name, None, f"has no function {function}; define it, or take another rule"
            )
        try:
            return self.functions[function](*given)
        except Exception as error:  # noqa: BLE001 (the user's code may raise anything)
            raise _broken(self.name, error) from None


@lru_cache(maxsize=32)
def load_module(source: str, file: str = "task.py") -> TaskModule:
    """The module of this source, executed once a process. Raises TaskFolderError with file and line."""
    name = f"{file}@{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    found: dict[str, Any] = {"__name__": "starmill_task"}
    try:
        exec(compile(source, name, "exec"), found)  # noqa: S102 (the user's own, see above)
    except SyntaxError as error:
        raise TaskFolderError(name, error.lineno, f"is no Python: {error.msg}") from None
    except Exception as error:  # noqa: BLE001 (the user's code may raise anything)
        raise _broken(name, error) from None
    names = ("extract", "correct")
    return TaskModule(name, {each: found[each] for each in names if callable(found.get(each))})


def _broken(name: str, error: Exception) -> TaskFolderError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    said = " ".join(str(error).split())
    return TaskFolderError(name, lines[-1] if lines else None, f"{type(error).__name__}: {said}")
