"""What of a synthetic set is better left out: filters that mark rows, and delete none."""

from models.quality.filters import Candidate, Filters, Mark
from models.quality.settings import FILTERS, Quality

__all__ = ["FILTERS", "Candidate", "Filters", "Mark", "Quality"]
