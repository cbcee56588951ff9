"""Keep the 8-bit graphs of encoders in the user's cache: the first process that needs one writes it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from models.adapters.encoders.bert_graph import bert_graph
from models.adapters.encoders.checkpoint import Checkpoint


def cached_graph(checkpoint: Checkpoint, renew: bool = False) -> Path | bytes:
    """Return the file of the checkpoint's 8-bit graph, or the graph itself where no file can be written.

    The file is named by the checkpoint's fingerprint. Processes that write it at once write the same, and
    each puts a whole file in place. `renew` replaces a damaged one.
    """
    try:
        path = _folder() / f"{checkpoint.fingerprint}.onnx"
    except RuntimeError:  # this user has no home
        return bert_graph(checkpoint, eight_bits=True)
    if path.is_file() and not renew:
        return path
    graph = bert_graph(checkpoint, eight_bits=True)
    try:
        _write(path, graph)
    except OSError:
        return graph
    return path


def _folder() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "starmill" / "encoders"


def _write(path: Path, graph: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".graph-", delete=False) as draft:
        try:
            draft.write(graph)
            draft.flush()
            # A name without content would outlive a loss of power.
            os.fsync(draft.fileno())
            os.replace(draft.name, path)
        except BaseException:
            os.unlink(draft.name)
            raise
