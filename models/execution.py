"""Programs that a model wrote: what is run, within which limits, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from models.endpoints import Section, Whole

# `passed`: every test was met, and the proof of it arrived. `failed`: an assertion did not hold. `error`:
# any other exception, an exit before the last test, or a death. `syntax`: Python does not compile it.
# `unavailable`: not the answer but its tests, or a package that it uses, import what is not installed.
Outcome = Literal[
    "passed", "failed", "error", "timeout", "memory", "output_limit", "syntax", "unavailable"
]  # fmt: skip


class ProgramLimits(Section):
    """What one program may use. Processor time decides, so that a busy machine changes no verdict; wall
    time is for programs that wait. `memory_mb` bounds each process and all of them together, `disk_mb`
    each of two temporary folders in memory, `output_kb` standard output and error together."""

    cpu_seconds: Annotated[Whole, Field(ge=1, le=600)] = 10
    wall_seconds: Annotated[Whole, Field(ge=1, le=3600)] = 30
    memory_mb: Annotated[Whole, Field(ge=64)] = 1024
    disk_mb: Annotated[Whole, Field(ge=1)] = 32
    processes: Annotated[Whole, Field(ge=2, le=1024)] = 32
    output_kb: Annotated[Whole, Field(ge=1, le=65536)] = 64


@dataclass(frozen=True, slots=True)
class Program:
    """A module in two parts, the task's own `setup` and the `answer`, and then `tests` in the same
    namespace. Where an `entry_point` is named, the tests define `check`, which is called with what the
    answer defined under that name."""

    answer: str
    tests: str = ""
    entry_point: str = ""
    setup: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`seconds` is wall time with the start of the wall; `cpu_seconds` that of the program alone, 0 where
    it was killed from outside. `stdout` and `stderr` are cut at the limit of output."""

    outcome: Outcome
    detail: str = ""
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
