"""The arguments and the result of every scenario."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.load import Load
from tests.bench.measured import Measured
from tests.bench.plain_loop import plain
from tests.bench.starting import starmill
from tests.openai_server.process import OpenAIServer, running

# Of each subject, "plain" and "starmill"; a scenario may leave the plain one out.
Outcome = dict[str, Measured]
Scenario = Callable[["Bench"], Outcome]


class Unmeasured(Exception):
    """This release cannot do what the scenario measures."""


@dataclass(frozen=True)
class Bench:
    """An empty `folder` for one measurement; `results` keeps its curves. `calls` and `threads` replace what a
    scenario would take; `workers` and `postgres` are for those that name them."""

    folder: Path
    quick: bool = False
    calls: int | None = None
    threads: int | None = None
    workers: int = 1
    postgres: bool = False
    results: Path = Path()

    def load(self, calls: int, quick: int, **settings: Any) -> Load:
        """`calls` of them, or `quick` where it is only to be seen that the scenario works."""
        load = Load(self.calls or (quick if self.quick else calls), **settings)
        return dataclasses.replace(load, threads=self.threads) if self.threads else load

    def both(self, load: Load) -> Outcome:
        """Undisturbed, on the same server."""
        with self.server() as server:
            return {
                "plain": plain(load, server, self.folder / "plain"),
                "starmill": starmill(load, server, self.folder / "starmill"),
            }

    @staticmethod
    @contextmanager
    def server() -> Iterator[OpenAIServer]:
        with running() as server:
            yield server


def prefixed(name: str, values: Measured) -> Measured:
    return {f"{name}: {key}": value for key, value in values.items()}
