"""Rows that leave the ledger: synthetic data, students' answers and failures, in formats for others."""

from producer.export.selection import Selection, heed_filters, select_rows
from producer.export.writers import WRITERS

__all__ = ["WRITERS", "Selection", "heed_filters", "select_rows"]
