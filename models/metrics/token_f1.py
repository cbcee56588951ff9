"""Token F1 (Rajpurkar et al., 2016): how many words and symbols two texts share."""

from __future__ import annotations

import re
from collections import Counter

_TOKEN = re.compile(r"\w+|[^\w\s]")


def token_f1(prediction: str, reference: str) -> float:
    """From 0 to 1, case aside; order does not count. Two empty texts are equal."""
    said, expected = (Counter(_TOKEN.findall(text.lower())) for text in (prediction, reference))
    if not said or not expected:
        return float(said == expected)
    return 2 * (said & expected).total() / (said.total() + expected.total())
