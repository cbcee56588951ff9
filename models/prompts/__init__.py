"""What models are asked: rendering is pure; the words come from a task folder."""

from models.prompts.formats import Asked, formatted
from models.prompts.wording import HintStyle, Wording, example_query

__all__ = ["Asked", "HintStyle", "Wording", "example_query", "formatted"]
