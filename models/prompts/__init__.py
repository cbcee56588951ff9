"""What models are asked: rendering is pure, wording lies in `templates`, shipped examples in `seeds`."""

from models.prompts.render import (
    HintStyle,
    as_chat,
    augmentation,
    augmentations,
    example_query,
    rationale,
    student_prompt,
)
from models.prompts.templates import STOP

__all__ = [
    "STOP",
    "HintStyle",
    "as_chat",
    "augmentation",
    "augmentations",
    "example_query",
    "rationale",
    "student_prompt",
]
