"""Recorded answers of a student by cell of the grid, each cell in a file of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class CellFiles(BaseModel):
    """Recorded answers of a student, a file for each cell. Answers that are found by their cell do not depend
    on a prompt, so none is made: no search, no exemplar."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[str, Field(min_length=1)] = "."
    """the folder of the files, seen from the experiment file"""
    cells: Annotated[dict[str, str], Field(min_length=1)]
    """a file for each cell, such as `2-shot/retrieval/star`, without the student"""

    @property
    def paths(self) -> dict[str, str]:
        """The path of each cell's file."""
        return {
            cell: file if file.startswith("/") else f"{self.folder}/{file}"
            for cell, file in self.cells.items()
        }
