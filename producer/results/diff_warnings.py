"""Sentences on two runs whose numbers do not mean the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_RULES = (
    r"judge\.(extraction|correctness|execution)|rationale\.correctness"
    r"|steps\.\w+\.(rule|score|least)(\.\w+)*"
)
# By a pattern of the keys that differ.
WARNINGS: Mapping[str, str] = {
    _RULES: "rules differ, so that equal answers may have other verdicts",
    r"judge\.metrics": "metrics differ, and only those of both runs are compared",
    r"grid\.seeds|seed": "seeds differ, and part of each difference is chance",
    r"report\.(repeated_ids|cluster)": "rows are counted in other ways",
}


def comparison_warnings(configuration: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """Yield a line for each reason why scores are not comparable, from the keys that differ."""
    for pattern, meaning in WARNINGS.items():
        keys = {key: values for key, values in configuration.items() if re.fullmatch(pattern, key)}
        if keys:
            yield f"{meaning}: {'; '.join(_difference(key, *values) for key, values in keys.items())}"


def _difference(key: str, first: Any, second: Any) -> str:
    before, after = (json.dumps(value, ensure_ascii=False).strip('"') for value in (first, second))
    return f"{key} is {before} in A, {after} in B"
