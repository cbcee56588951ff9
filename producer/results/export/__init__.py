"""Exported rows: synthetic data, answers of students and failures, in formats that other tools read."""
