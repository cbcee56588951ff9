"""Versions and licences of installed packages."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distribution, packages_distributions

from producer.documents.attribution import Attribution
from producer.documents.inspection import STDLIB


def versions(packages: Sequence[str]) -> Iterator[Attribution]:
    """One for Python, where it is named, and one per distribution, with what its metadata say."""
    names = {package.partition(".")[0] for package in packages}
    if any(name == STDLIB or name in sys.stdlib_module_names for name in names):
        notice = "© Python Software Foundation. Licensed under the PSF License."
        yield Attribution(
            "python", platform.python_version(), notice, "https://docs.python.org/3/license.html"
        )
    providers = packages_distributions()
    for name in sorted({provider for package in names for provider in providers.get(package, ())}):
        found = distribution(name)
        yield Attribution(found.metadata["Name"], found.version, _licence(found), _home(found))


def _licence(found: Distribution) -> str:
    """The short form: `License` may be a whole text, and is then left to the classifiers."""
    named = [*_values(found, "License-Expression"), *_values(found, "License")]
    if named and "\n" not in named[0].strip():
        return named[0].strip()
    classifiers = _values(found, "Classifier")
    licences = [entry.rpartition(" :: ")[2] for entry in classifiers if entry.startswith("License :: ")]
    return ", ".join(licences)


def _home(found: Distribution) -> str:
    urls = [entry.split(", ", 1) for entry in _values(found, "Project-URL")]
    labelled = {label.lower(): url for label, url in urls if url}
    named = (labelled[label] for label in ("documentation", "homepage", "home") if label in labelled)
    return next(iter([*named, *_values(found, "Home-page")]), "")


def _values(found: Distribution, field: str) -> list[str]:
    return found.metadata.get_all(field) or []
