"""The kind python: a function of the user's own, for what no model is asked."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from models.core.errors import TaskFolderError
from models.core.kinds.step import FileContent, QueueName, Row, Services, StepResult, StepSettings, correct_in
from models.core.near_names import nearest
from models.core.prompts.column_values import is_null
from models.core.prompts.expressions import ROW


def missing_function(code: str, function: str) -> str:
    """Return why `code` has no function of this name; empty if there is, or may be."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        return f"code is no Python{line}; is it the right file?"
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {alias.asname or alias.name for node in ast.walk(tree)
              if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names}  # fmt: skip
    if names & {function, "*"}:
        return ""
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return f"code has no function {function}; {nearest(function, defined)}"


class PythonStep(StepSettings):
    """Calls your own `def NAME(row) -> dict`; what it returns is the column. The row has the columns of the
    data and of earlier steps with one value. The code is trusted, and runs in a process beside the worker,
    without its keys."""

    kind: Literal["python"] = "python"
    function: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """the name of the function"""
    code: str = ""
    """the file; left out: `task.py` of the task folder"""
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """seconds of a call"""

    units_per_task: ClassVar[int] = 16
    queue: ClassVar[QueueName] = "python"
    makes: ClassVar[str] = "results"
    files: ClassVar[Mapping[str, FileContent]] = {"code": "text"}
    signs: ClassVar[tuple[str, ...]] = ("function",)

    @model_validator(mode="after")
    def _is_in_its_code(self) -> Self:
        if self.code and (problem := missing_function(self.code, self.function)):
            raise ValueError(problem)
        return self

    @property
    def uses_module(self) -> bool:
        return not self.code

    def reads(self) -> Mapping[str, str]:
        return {**super().reads(), ROW: "function"}

    def is_right(self, result: Mapping[str, Any]) -> bool | None:
        return correct_in(result)

    async def execute(self, services: Services, rows: Sequence[Row]) -> list[StepResult]:
        return [await self._call(services, row) for row in rows]

    async def _call(self, services: Services, row: Row) -> StepResult:
        columns = {name: None if is_null(value) else value for name, value in row.columns[ROW].items()}
        try:
            value = await services.call_python(self.code, self.function, [columns], self.timeout)
        except TaskFolderError as error:
            return StepResult(row, failure=("task_folder", str(error)))
        return StepResult(row, value)
