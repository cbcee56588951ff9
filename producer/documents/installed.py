"""Passages from the documentation of installed packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

from models.errors import UsageError
from models.types import Passage

# Importing every module of the largest packages takes about a minute.
PATIENCE_SECONDS = 600
# A default such as `key=os.environ["API_KEY"]` becomes part of a signature, and signatures go to the teacher:
# the child gets what finding libraries needs, and nothing else.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


def installed(packages: Sequence[str]) -> Iterator[Passage]:
    """One passage per documented public callable of `packages`, sorted by its dotted name.

    `stdlib` stands for the standard library with the builtins and their methods (`str.join`). The same
    interpreter and packages give the same passages. Raises UsageError for a package that cannot be imported.
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
    """Standard output of `producer.documents.inspection` in a process of its own, line by line."""
    names = ", ".join(packages)
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    # Sets in signatures are shown in the order of their hashes.
    environment = {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    environment |= {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    command = [sys.executable, "-P", "-W", "ignore", "-m", "producer.documents.inspection", *packages]
    try:
        child = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"passages.packages: importing {names} takes more than {PATIENCE_SECONDS} s; remove what blocks"
        ) from None
    except subprocess.CalledProcessError as error:
        raise UsageError(
            f"passages.packages: reading {names} ended with exit code {error.returncode}; "
            "give the packages one by one to see which one stops the interpreter"
        ) from None
    return child.stdout.decode().splitlines()
