"""Judging texts that stand in files, whoever wrote them."""

from typing import Literal

# How predictions are compared with references.
Rules = Literal["paper", "strict"]
