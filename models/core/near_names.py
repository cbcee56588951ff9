"""Words for errors about a name that is not there: the nearest one that is, and what there is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches


def did_you_mean(name: str, known: Collection[str], otherwise: str = "") -> str:
    """Return a question with the nearest of the known names, or `otherwise` if none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def nearest(name: str, known: Collection[str]) -> str:
    """Return what could have been meant by `name`, and all names that there are."""
    return _with_all(name, known, f"there are {', '.join(known)}" if known else "there is none")


def nearest_column(name: str, columns: Sequence[str]) -> str:
    """Return the column that could have been meant, and all columns."""
    return _with_all(
        name, columns, f"the columns are {', '.join(columns)}" if columns else "there are no columns"
    )


def _with_all(name: str, known: Collection[str], listed: str) -> str:
    return f"{did_you_mean(name, known)} {listed}".strip()
