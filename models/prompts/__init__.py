"""What models are asked: rendering is pure, wording lies in `templates`, shipped examples in `seeds`."""

from models.prompts.formats import Asked, formatted
from models.prompts.render import (
    HintStyle,
    augmentation,
    augmentations,
    example_query,
    rationale,
    student_prompt,
)

__all__ = [
    "Asked",
    "HintStyle",
    "augmentation",
    "augmentations",
    "example_query",
    "formatted",
    "rationale",
    "student_prompt",
]
