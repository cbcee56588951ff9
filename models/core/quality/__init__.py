"""Filters that mark rows of a synthetic set, and delete none."""
