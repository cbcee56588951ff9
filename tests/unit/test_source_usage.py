"""Uses of documented names are counted in source code."""

from __future__ import annotations

import numpy as np
import pytest

from models.core.retrieval.source_usage import MAX_PER_FILE, count_uses, usage_keys, usage_table
from models.core.types import Passage

ARANGE = Passage("numpy.arange", "numpy.arange()", "", "", "numpy")
LEN = Passage("python.library.functions#len", "len()", "", "", "python")
KEYS = {*usage_keys(ARANGE), *usage_keys(LEN)}


def test_keys_of_names_with_and_without_an_owner() -> None:
    assert usage_keys(ARANGE) == ("numpy.arange", "arange(", ".arange(")
    assert usage_keys(LEN) == ("python.len", "len(", ".len(")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy as np\nnp.arange(3)", {"numpy.arange": 1, ".arange(": 1}),
        ("import numpy\nf = numpy.arange", {"numpy.arange": 1}),
        ("from numpy import (\n    zeros,\n    arange,\n)\n", {"numpy.arange": 1}),
        ("from numpy import arange\narange(len(x))", {"numpy.arange": 1, "arange(": 1, "len(": 1}),
        ("x.linspace(1)", {}),
        ("", {}),
    ],
)
def test_uses_in_a_file(source: str, expected: dict[str, int]) -> None:
    assert count_uses([source], KEYS) == expected


def test_a_file_counts_a_few_times_at_most() -> None:
    assert count_uses(["len(x)\n" * 100, "len(y)"], KEYS) == {"len(": MAX_PER_FILE + 1}


def test_table_is_logarithmic() -> None:
    table = usage_table([ARANGE, LEN], {"numpy.arange": 3, "len(": 1})
    assert table == pytest.approx(np.log1p([[3, 0, 0], [0, 1, 0]]))
