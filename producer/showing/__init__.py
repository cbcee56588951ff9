"""The life of one example in one run: what was asked, found, answered, judged and paid."""

from producer.showing.facts import facts
from producer.showing.terminal import lines

__all__ = ["facts", "lines"]
