"""Filters of quality on the rows of a run, or on a dataset before there is one."""

from producer.quality.findings import Findings, LeftOut, judge, leave_out, named_filters
from producer.quality.sets import DatasetSet, SyntheticSet

__all__ = ["DatasetSet", "Findings", "LeftOut", "SyntheticSet", "judge", "leave_out", "named_filters"]
