"""Passages from the documentation of installed packages, with their versions and licences."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distribution, packages_distributions

from models.core.errors import UsageError
from models.core.types import Passage
from producer.corpus.attribution import Attribution
from producer.corpus.inspection import STDLIB

# Importing every module of the largest packages takes about a minute.
TIMEOUT_SECONDS = 600
# A default such as `key=os.environ["API_KEY"]` becomes part of a signature, and signatures go to the teacher:
# the child gets only the variables that it needs to find libraries.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


def read_installed(packages: Sequence[str]) -> Iterator[Passage]:
    """Yield a passage per documented public callable of `packages`, sorted by its dotted name.

    `stdlib` is the standard library with the builtins and their methods (`str.join`). The same interpreter
    and packages give the same passages. Raises UsageError for a package that cannot be imported.
    """
    for line in _inspected(packages):
        row = json.loads(line)
        if "missing" in row:
            name = row["missing"]
            raise UsageError(
                f"passages.packages: {name} cannot be imported; install it beside starmill, or remove it"
                f' (python -c "import {name}" shows why)'
            )
        yield Passage(**row)


def _inspected(packages: Sequence[str]) -> list[str]:
    """Run `producer.corpus.inspection` in a process of its own and return its output, line by line."""
    names = ", ".join(packages)
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    # A fixed hash seed: signatures show sets in the order of their hashes.
    environment = {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    environment |= {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    command = [sys.executable, "-P", "-W", "ignore", "-m", "producer.corpus.inspection", *packages]
    try:
        child = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_SECONDS,
            check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"passages.packages: importing {names} takes more than {TIMEOUT_SECONDS} s; remove what blocks"
        ) from None
    except subprocess.CalledProcessError as error:
        raise UsageError(
            f"passages.packages: reading {names} ended with exit code {error.returncode}; "
            "give the packages one by one to see which one stops the interpreter"
        ) from None
    return child.stdout.decode().splitlines()


def versions(packages: Sequence[str]) -> Iterator[Attribution]:
    """Yield one for Python, if it is named, and one per distribution, from its metadata."""
    names = {package.partition(".")[0] for package in packages}
    if any(name == STDLIB or name in sys.stdlib_module_names for name in names):
        notice = "© Python Software Foundation. Licensed under the PSF License."
        yield Attribution(
            "python", platform.python_version(), notice, "https://docs.python.org/3/license.html"
        )
    providers = packages_distributions()
    for name in sorted({provider for package in names for provider in providers.get(package, ())}):
        package = distribution(name)
        yield Attribution(package.metadata["Name"], package.version, _licence(package), _home(package))


def _licence(package: Distribution) -> str:
    """Return the licence's name. `License` may hold the whole text: the classifiers name it then."""
    named = [*_values(package, "License-Expression"), *_values(package, "License")]
    if named and "\n" not in named[0].strip():
        return named[0].strip()
    classifiers = _values(package, "Classifier")
    licences = [entry.rpartition(" :: ")[2] for entry in classifiers if entry.startswith("License :: ")]
    return ", ".join(licences)


def _home(package: Distribution) -> str:
    urls = [entry.split(", ", 1) for entry in _values(package, "Project-URL")]
    labelled = {label.lower(): url for label, url in urls if url}
    named = (labelled[label] for label in ("documentation", "homepage", "home") if label in labelled)
    return next(iter([*named, *_values(package, "Home-page")]), "")


def _values(package: Distribution, field: str) -> list[str]:
    return package.metadata.get_all(field) or []
