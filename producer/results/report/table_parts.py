"""The parts that all sections of a report are made of: tables, values, shares and counts in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a table. `detail` holds numbers in small print beside it; the `best` value is bold."""

    text: str
    detail: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A table, the `note` that explains it, and `remarks` on this run.

    `text_columns` hold words, the other columns numbers. A table of names and values has empty headings.
    """

    title: str
    headings: tuple[str, ...]
    rows: list[list[Value]]
    note: str = ""
    text_columns: Collection[int] = (0,)
    remarks: tuple[str, ...] = ()


def section_of_texts(
    title: str,
    headings: tuple[str, ...],
    rows: Iterable[Iterable[str]],
    note: str = "",
    text_columns: Collection[int] = (0,),
) -> Section:
    return Section(title, headings, [[Value(text) for text in row] for row in rows], note, text_columns)


def share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f} %)" if whole else f"{part:,}"


def counts_in_words(numbers: Mapping[str, int]) -> str:
    """Join counts, such as `no code 3, refusal 1`."""
    return ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in numbers.items())


def interval_text(low: float, high: float) -> str:
    return f"[{low:.1f}, {high:.1f}]"


DECIMALS = 4


def rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Round numbers for JSON, but for p-values."""
    return {
        name: value if value is None or isinstance(value, bool) or name.startswith("p_")
        else round(value, DECIMALS)
        for name, value in values.items()
    }  # fmt: skip
