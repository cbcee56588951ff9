"""The kind retrieve: the passages of the experiment's corpus that are nearest to a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from models.core.experiment.endpoints import Count
from models.core.kinds.generate import Template
from models.core.kinds.step import (
    FileContent,
    QueueName,
    Row,
    Services,
    StepResult,
    StepSettings,
    render_rows,
)


class RetrieveStep(StepSettings):
    """Finds passages of the section `passages`: a list with `id`, `name`, `signature`, `text` and `score`."""

    kind: Literal["retrieve"] = "retrieve"
    query: Template
    """a template of what is searched"""
    top_k: Count | None = None
    """passages; left out: `passages.top_k`"""

    units_per_task: ClassVar[int] = 16
    queue: ClassVar[QueueName] = "retrieve"
    makes: ClassVar[str] = "searches"
    files: ClassVar[Mapping[str, FileContent]] = {"query": "text"}
    signs: ClassVar[tuple[str, ...]] = ("query",)

    @property
    def shares_work(self) -> bool:
        return True

    def prompts(self) -> Mapping[str, str]:
        return {"query": self.query}

    async def execute(self, services: Services, rows: Sequence[Row]) -> list[StepResult]:
        asked, results = render_rows(rows, "query", self.query)
        hits = await services.search([query for _, query in asked]) if asked else []
        for (row, _), best in zip(asked, hits, strict=True):
            passages: list[dict[str, Any]] = [
                {"id": hit.passage.id, "name": hit.passage.name, "signature": hit.passage.signature,
                 "text": hit.passage.text, "score": round(hit.score, 6)}
                for hit in best[: self.top_k]
            ]  # fmt: skip
            results.append(StepResult(row, passages))
        return results
