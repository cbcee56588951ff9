"""What changed between two runs over the same data."""

from producer.comparing.compare import Comparison, compare
from producer.comparing.terminal import tables

__all__ = ["Comparison", "compare", "tables"]
