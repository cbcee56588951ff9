"""The section `prompts` of an experiment: templates in place of those of its task folder.

A text without blocks is the block `user`; the other blocks stay those of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.core.errors import ExperimentError
from models.core.near_names import did_you_mean
from models.core.prompts.templates import BLOCKS, Template
from producer.experiments.inline_files import read_prompt

_BLOCK = re.compile(r"\{%-?\s*block\s+(\w+)\s*-?%\}.*?\{%-?\s*endblock\b[^%]*%\}", re.DOTALL)


def use_own_prompts(name: str, config: dict[str, Any], folders: Sequence[Path]) -> None:
    """Move the templates of `prompts`, texts or files, into the task.

    Raise ExperimentError, TaskFolderError.
    """
    own, task = config.get("prompts"), config.get("task")
    if own is None or not isinstance(task, dict):
        return
    if not isinstance(own, dict):
        raise ExperimentError(name, "prompts", f"must be a mapping of {', '.join(BLOCKS)}")
    del config["prompts"]
    prompts = dict(task["prompts"])
    for key, text in own.items():
        where = f"prompts.{key}"
        if key not in BLOCKS:
            remedy = did_you_mean(str(key), BLOCKS, f"known are {', '.join(BLOCKS)}")
            raise ExperimentError(name, where, f"unknown key; {remedy}")
        if not isinstance(text, str):
            raise ExperimentError(name, where, "must be a template, or the name of a file that holds one")
        prompts[key] = _whole(prompts.get(key, ""), read_prompt(name, where, text, folders))
        Template(key, prompts[key], where, columns=None)
    config["task"] = {**task, "prompts": prompts}


def _whole(folders_own: str, text: str) -> str:
    """Return the template; a text without blocks takes all but the block `user` from the folder's."""
    if _BLOCK.search(text):
        return text
    others = [block[0] for block in _BLOCK.finditer(folders_own) if block[1] != "user"]
    # It comes first and begins at once, so that errors name the lines of the text.
    return "\n".join(["{% block user %}" + text + "{% endblock %}", *others])
