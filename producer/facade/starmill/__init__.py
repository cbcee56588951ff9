"""Starmill from Python: `generate`, `plan`, `preview`, `estimate`, `run`, `results`, and `app`, the Celery
application.

Importing it opens nothing and loads nothing else: each name is loaded when it is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from os.path import samefile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.one_prompt import generate as generate
    from producer.runs import estimate as estimate
    from producer.runs import plan as plan
    from producer.runs import preview as preview
    from producer.runs import results as results
    from producer.runs import run as run
    from worker.celery import app as app

PACKAGES = ("models", "storage", "worker", "producer")
PLACES = {
    "estimate": "producer.runs",
    "generate": "producer.one_prompt",
    "plan": "producer.runs",
    "preview": "producer.runs",
    "run": "producer.runs",
    "results": "producer.runs",
    "app": "worker.celery",
}
__all__ = ("app", "estimate", "generate", "plan", "preview", "results", "run")


def _load_packages() -> None:
    """Import the packages of this distribution, also where the working folder has others of these names.

    Raise ImportError if another package of such a name has been imported already.
    """
    root = next(
        folder for folder in Path(__file__).parents if (folder / "producer" / "__init__.py").is_file()
    )
    sys.path.insert(0, str(root))
    try:
        for name in PACKAGES:
            loaded = import_module(name).__file__
            if not loaded or not samefile(loaded, root / name / "__init__.py"):
                raise ImportError(
                    f"starmill has a package `{name}`, and {loaded or 'a folder'} was imported under that "
                    "name before; import starmill first, or give your own another name"
                )
    finally:
        sys.path.remove(str(root))


_load_packages()


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module 'starmill' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
