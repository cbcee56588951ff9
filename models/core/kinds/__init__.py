"""The kinds of steps. Each is one class of settings that also says what the step reads and does."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from models.core.kinds.generate import GenerateStep
from models.core.kinds.judge import JudgeStep
from models.core.kinds.python import PythonStep
from models.core.kinds.retrieve import RetrieveStep
from models.core.kinds.step import StepSettings
from models.core.kinds.vote import VoteStep

# In the order in which the keys of a step that does not name its kind are looked at.
KINDS: dict[str, type[StepSettings]] = {
    kind.model_fields["kind"].default: kind
    for kind in (JudgeStep, VoteStep, GenerateStep, RetrieveStep, PythonStep)
}


def _with_kind(value: Any) -> Any:
    if not isinstance(value, dict) or "kind" in value:
        return value
    for kind, settings in KINDS.items():
        if any(sign in value for sign in settings.signs):
            return {"kind": kind, **value}
    return value


AnyStep = Annotated[
    JudgeStep | VoteStep | GenerateStep | RetrieveStep | PythonStep,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]
