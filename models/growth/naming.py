"""How examples are called in prompts of growth, in its files and its provenance."""

from __future__ import annotations


def seed_name(split: str, row: int) -> str:
    """Of a row of the dataset, such as `train/17`; ids of questions may repeat."""
    return f"{split}/{row}"


def grown_name(unit: int, place: int) -> str:
    """Of pair `place`, from 1, in the reply to a unit; each is a question of its own."""
    return f"grown-{unit}-{place}"
