"""python -m tests.bench.impatient SECONDS ...: Celery's command with another visibility timeout."""

from __future__ import annotations

import sys

from celery.__main__ import main

from storage import broker

if __name__ == "__main__":
    broker.VISIBILITY_SECONDS = int(sys.argv.pop(1))
    main()
