"""A model server for tests and trials: the OpenAI protocol, deterministic answers, faults on demand.

    python -m tests.openai_server --port 8000 --latency-ms 200 --p429 0.05 --malformed 0.05

Endpoints: /v1/chat/completions, /v1/completions, /v1/models, /v1/embeddings; /v1/files and /v1/batches,
whose calls are answered, spoiled and counted like any other; GET and DELETE /stats; POST /configure with
a JSON object of settings to change (`--help` lists them).
"""

from tests.openai_server.process import OpenAIServer, process_that_prints_its_url, running

__all__ = ["OpenAIServer", "process_that_prints_its_url", "running"]
