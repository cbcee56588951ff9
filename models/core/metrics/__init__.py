"""Metrics of answers: values in, numbers out. Every score is in percent."""
