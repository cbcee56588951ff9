"""Lines about errors that no command foresaw, in a folder without a ledger."""

from __future__ import annotations

import pytest

from producer.cli.unexpected import explain


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("scipy.sparse", "retrieve"),
        ("milvus_lite", "embedded"),
        ("vllm", "vllm"),
        ("pyarrow.parquet", "export"),
    ],
)
def test_missing_package_is_told_with_the_smallest_extra_that_brings_it(module: str, extra: str) -> None:
    error = ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert explain(error) == f"{module} is not installed; pip install 'starmill[{extra}]'"


def test_fault_of_the_program_is_not_blamed_on_a_ledger_that_is_not_there() -> None:
    assert explain(ModuleNotFoundError("No module named 'modles'", name="modles")) == ""
    assert explain(KeyError("row")) == ""
