"""Recorded answers of a student by cell of the grid, each cell in a file of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class CellFiles(BaseModel):
    """Files in `folder` by the cell that each answers, such as `2-shot/retrieval/star`, without the student.

    Answers that are found by their cell do not depend on a prompt, so none is made: no search, no exemplar.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[str, Field(min_length=1)] = "."
    cells: Annotated[dict[str, str], Field(min_length=1)]

    @property
    def paths(self) -> dict[str, str]:
        """The path of each cell's file."""
        return {
            cell: file if file.startswith("/") else f"{self.folder}/{file}"
            for cell, file in self.cells.items()
        }
