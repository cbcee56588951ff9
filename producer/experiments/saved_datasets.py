"""Read datasets that `datasets` has saved in a folder, or loads from the Hugging Face Hub.

They stay on disk: `datasets` maps them into memory. It is imported only here, and imports no torch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from models.core.errors import DatasetError, UsageError
from models.core.experiment.data_source import HUB

PAGE = 1000
NAME = "hf:NAME[/CONFIG][?split=NAME], such as hf:openai/gsm8k/main?split=train"


@dataclass(frozen=True, slots=True)
class SavedRows:
    """The rows of one split, numbered from 1, in bounded memory."""

    dataset: Any

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        tables = self.dataset.with_format("arrow").iter(batch_size=PAGE)
        yield from enumerate(chain.from_iterable(table.to_pylist() for table in tables), 1)


def is_saved(folder: Path) -> bool:
    """Return whether `datasets` has saved a dataset, or one with splits, in the folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def open_saved(folder: Path) -> dict[str, SavedRows]:
    """Return the rows of a saved dataset by split. Raise DatasetError."""
    with _errors(str(folder), "is no folder that `datasets` can read") as library:
        return _by_split(library.load_from_disk(str(folder)))


def open_hub(name: str) -> dict[str, SavedRows]:
    """Return the rows of a dataset of the Hub by split. Raise DatasetError, UsageError."""
    path, _, query = name.removeprefix(HUB).partition("?")
    parts = path.split("/")
    try:
        given = dict(parse_qsl(query, strict_parsing=True)) if query else {}
    except ValueError:
        given = {"": query}
    if not all(parts) or len(parts) > 3 or given.keys() - {"split"}:
        raise UsageError(f"data: {name} is no name of a dataset; write {NAME}")
    with _errors(name, "cannot be loaded") as library:
        loaded = None
        if len(parts) == 2:  # an owner and a name, or, of old datasets, a name and a configuration
            try:
                loaded = library.load_dataset(path, **given)
            except library.exceptions.DatasetNotFoundError:
                loaded = library.load_dataset(*parts, **given)
        else:
            loaded = library.load_dataset("/".join(parts[:2]), *parts[2:], **given)
        return _by_split(loaded)


def _by_split(loaded: Any) -> dict[str, SavedRows]:
    splits = loaded if isinstance(loaded, Mapping) else {"train": loaded}
    return {str(name): SavedRows(dataset) for name, dataset in splits.items()}


@contextmanager
def _errors(where: str, problem: str) -> Iterator[Any]:
    """Give the library, quiet unless a person watches. Raise DatasetError in place of its errors."""
    try:
        import datasets
    except ImportError:
        raise DatasetError(where, None, "needs datasets; `pip install 'starmill[data]'`") from None
    hub = logging.getLogger("huggingface_hub")
    level, shows = hub.level, not datasets.are_progress_bars_disabled()
    hub.setLevel(logging.CRITICAL)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        yield datasets
    except ConnectionError as error:
        remedy = "is this machine offline? name a file or a saved folder in place of it"
        raise DatasetError(where, None, f"{_first_line(error)}; {remedy}") from None
    except (OSError, ValueError, RuntimeError, TypeError, datasets.exceptions.DatasetsError) as error:
        raise DatasetError(where, None, f"{problem}: {_first_line(error)}") from None
    finally:
        hub.setLevel(level)
        if shows:
            datasets.enable_progress_bars()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
