"""How far an unfinished training has come, on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.errors import UsageError

FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a training in `folder`, kept in one file that is replaced as a whole.

    `identity` is what decides the outcome; a file of another identity is refused.
    """

    folder: Path
    identity: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def prepare(self) -> None:
        """Make the folder: better refused now than after an hour."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"-o {self.folder}: cannot be made: {error.strerror or error}") from None

    def save(self, state: dict[str, Any]) -> None:
        draft = self.path.with_suffix(".tmp")
        try:
            torch.save({"identity": dict(self.identity), **state}, draft)
            os.replace(draft, self.path)
        except (OSError, RuntimeError) as error:
            raise UsageError(f"-o {self.folder}: cannot be written: {error}") from None

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was. Raises UsageError where it is of another training."""
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location="cpu")
            found = state.pop("identity")
        except Exception as error:
            # torch raises whatever the first damaged part of a file makes it raise.
            raise UsageError(f"{self.path} is damaged ({type(error).__name__}); remove it") from error
        for key, value in self.identity.items():
            if found.get(key) != value:
                raise UsageError(
                    f"{self.path} is of a training with another {key} ({found.get(key)}, not {value}); "
                    "give the same options, or remove it"
                )
        return state

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
