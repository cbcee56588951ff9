"""A task folder as a run keeps it: what models are asked, in which words, and by what an answer is judged.

The producer reads the folder; its texts then travel in the run's configuration, so that workers on other
machines need no file of it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.endpoints import Name, Section


class Prompts(Section):
    """The source of each prompt template. Without `augment` requests cannot be augmented, without `grow` no
    new ones be grown; `verdict` asks a judge model."""

    augment: str = ""
    rationale: str
    answer: str
    verdict: str = ""
    grow: str = ""


class TaskFolder(Section):
    """`stop` are texts at which the answer of a student with prompt format `raw` ends, where it would go on
    with an example of its own. `module` is the source of the folder's `task.py`: trusted code, which workers
    execute."""

    name: Name
    prompts: Prompts
    stop: list[Annotated[str, Field(min_length=1)]] = Field([])
    module: str = ""
