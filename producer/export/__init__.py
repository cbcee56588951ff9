"""Rows that leave the ledger: synthetic data, students' answers and failures, in formats for others."""

from producer.export.layout import Layout, parse_splits
from producer.export.selection import Selection, heed_filters, select_rows
from producer.export.writers import write_rows

__all__ = ["Layout", "Selection", "heed_filters", "parse_splits", "select_rows", "write_rows"]
