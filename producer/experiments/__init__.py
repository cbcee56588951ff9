"""Experiment files, task folders and datasets: what a user writes, read and checked."""
